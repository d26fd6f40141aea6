__kernel void scratch(__global const float *restrict x, __global float *restrict y, const int n)
{
    float values[24];
    for (int i = 0; i < 24; i++) values[i] = x[i];
    float sum = 0.0f;
    for (int i = 0; i < n; i++) sum = fma(sum, values[i % 24], values[(i * 7) % 24]);
    y[get_global_id(0)] = sum;
}
