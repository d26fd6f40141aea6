## Another function for each run of channels: heads of detectors, softmax over groups of a tree of classes.
##
##   y[n, c, i, j] = scale * f(x[n, c, i, j]) - (scale - 1) / 2            f: linear or logistic
##   y[n, c, i, j] = exp(softmax_scale * (x[n, c, i, j] - max)) / sum      over the run's channels: softmax
##   y[n, c, i, j] = x[n, c, i, j] / sqrt(sum of squares)                  over the run's channels: l2norm
##
## Layout   see clprune/layout.py; units[u] = (first channel, channels, function), scales[u]; a work-item computes one
##          unit at one place: a single channel, or all channels of a softmax, one after another
## function 0 linear, 1 logistic, 2 softmax, 3 l2norm
## group_n  work-items of a work-group, along a row
<%namespace name="common" file="common.mako"/>
${common.activation_function("logistic", 1)}
__kernel ${work_group_attributes(group_n, 1, 1)}
void head(__global const float *restrict x,
          __global const int *restrict units,
          __global const float *restrict scales,
          __global float *restrict y,
          const float softmax_scale,
          const int batch,
          const int out_width,
          const int x_origin,
          const int x_pitch,
          const int x_image_stride,
          const int x_channel_stride,
          const int y_origin,
          const int y_pitch,
          const int y_image_stride,
          const int y_channel_stride)
{
    const int column = get_global_id(0), row = get_global_id(1);
    const int unit = get_global_id(2) / batch, image = get_global_id(2) - unit * batch;
    if (column >= out_width) return;
    const int first = units[3 * unit], count = units[3 * unit + 1], function = units[3 * unit + 2];
    __global const float *in = x + x_origin + (size_t)first * x_channel_stride + (size_t)image * x_image_stride
                               + row * x_pitch + column;
    __global float *out = y + y_origin + (size_t)first * y_channel_stride + (size_t)image * y_image_stride
                          + row * y_pitch + column;
    if (function < 2) {
        const float scale = scales[unit], v = *in;
        *out = scale * (function == 1 ? activate(v) : v) - (scale - ${c_float(1)}) * ${c_float(0.5)};
        return;
    }
    float largest = -FLT_MAX, sum = ${c_float(0)};
    for (int c = 0; c < count; c++) largest = fmax(largest, in[(size_t)c * x_channel_stride]);
    for (int c = 0; c < count; c++) {
        const float v = in[(size_t)c * x_channel_stride];
        const float e = function == 2 ? exp((v - largest) * softmax_scale) : v;
        out[(size_t)c * y_channel_stride] = e;
        sum += function == 2 ? e : v * v;
    }
    sum = function == 2 ? sum : sqrt(sum);
    for (int c = 0; c < count; c++) out[(size_t)c * y_channel_stride] /= sum;
}
