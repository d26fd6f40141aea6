## Global average pooling:  y[n, c] = mean of x[n, c, :, :].
##
## Layout   see clprune/layout.py; a work-item averages one plane
## group_n  planes per work-group
__kernel __attribute__((reqd_work_group_size(${group_n}, 1, 1)))
void average_pool(__global const float *restrict x,
                  __global float *restrict y,
                  const int channels,
                  const int batch,
                  const int in_height,
                  const int in_width,
                  const int x_origin,
                  const int x_pitch,
                  const int x_image_stride,
                  const int x_channel_stride,
                  const int y_origin,
                  const int y_image_stride,
                  const int y_channel_stride)
{
    const int plane = get_global_id(0);
    if (plane >= channels * batch) return;
    const int channel = plane / batch, image = plane - channel * batch;
    __global const float *p = x + x_origin + (size_t)channel * x_channel_stride + (size_t)image * x_image_stride;
    float sum = ${c_float(0)};
    for (int row = 0; row < in_height; row++)
        for (int column = 0; column < in_width; column++)
            sum += p[row * x_pitch + column];
    y[y_origin + (size_t)channel * y_channel_stride + (size_t)image * y_image_stride] = sum / (float)(in_height * in_width);
}
