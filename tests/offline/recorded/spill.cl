__kernel __attribute__((amdgpu_num_vgpr(16)))
void spill(__global const float *restrict x, __global float *restrict y, const int n)
{
    float sum[24];
#pragma unroll
    for (int i = 0; i < 24; i++) sum[i] = x[get_global_id(0) * 24 + i];
#pragma unroll 1
    for (int k = 0; k < n; k++) {
        const float v = y[k];
#pragma unroll
        for (int i = 0; i < 24; i++) sum[i] = fma(sum[i], v, x[k * 24 + i]);
    }
#pragma unroll
    for (int i = 0; i < 24; i++) y[get_global_id(0) * 24 + i] = sum[i];
}
