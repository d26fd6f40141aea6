__kernel __attribute__((reqd_work_group_size(64, 1, 1)))
void dot(__global const float *restrict x, __global const float *restrict w, __global float *restrict y, const int n)
{
    __local float part[64] __attribute__((aligned(16)));
    const int item = get_local_id(0);
    float a = 0.0f, b = 0.0f;
    for (int first = 0; first < n; first += 64) {
        part[item] = w[first + item];
        barrier(CLK_LOCAL_MEM_FENCE);
#pragma unroll 1
        for (int k = 0; k < 64; k += 4) {
            const float4 v = vload4(0, part + k);
            a = fma(v.x, x[first + k], a); b = fma(v.y, x[first + k + 1], b);
            a = fma(v.z, x[first + k + 2], a); b = fma(v.w, x[first + k + 3], b);
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    y[get_global_id(0)] = a + b;
}
