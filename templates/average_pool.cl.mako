## Global average pooling:  y[n, c] = mean of x[n, c, :, :].
##
## Layout   see clprune/layout.py; a work-group averages one plane
## group_n  work-items that share a plane's values; they meet in local memory
__kernel ${work_group_attributes(group_n, 1, 1)}
void average_pool(__global const float *restrict x,
                  __global float *restrict y,
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
    const int plane = get_group_id(0), item = get_local_id(0);
    const int channel = plane / batch, image = plane - channel * batch;
    __global const float *p = x + x_origin + (size_t)channel * x_channel_stride + (size_t)image * x_image_stride;
    float sum = ${c_float(0)};
% if group_n == 1:
    for (int row = 0; row < in_height; row++)
        for (int column = 0; column < in_width; column++)
            sum += p[row * x_pitch + column];
% else:
    for (int i = item; i < in_height * in_width; i += ${group_n}) {
        const int row = i / in_width;
        sum += p[row * x_pitch + i - row * in_width];
    }
    __local float scratch[${group_n}];
    scratch[item] = sum;
% for half in (group_n >> shift for shift in range(1, group_n.bit_length())):
    barrier(CLK_LOCAL_MEM_FENCE);
    if (item < ${half}) scratch[item] += scratch[item + ${half}];
% endfor
    barrier(CLK_LOCAL_MEM_FENCE);
    sum = scratch[0];
    if (item > 0) return;
% endif
    y[y_origin + (size_t)channel * y_channel_stride + (size_t)image * y_image_stride] = sum / (float)(in_height * in_width);
}
