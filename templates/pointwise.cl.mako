## One value in, one value out: copies between layouts, scaling per channel, residual sums, products, activations.
##
##   v = x[n, c, i / up + row_offset, j / up + column_offset] * scale[c] + shift[c]
##   y[n, c, i, j] = activate(alpha * v + beta * other[n, c, i / other_up * other_step, j / other_up * other_step])
##
## Layout   see clprune/layout.py; a work-item computes one value
## scaled   scale[c] and shift[c] are given;  summed: `other` is given
## factor   "value", "plane", "channel": v is multiplied by other[n, c, i, j], other[n, i, j], other[n, c] instead
## ordered  v = x[n, order[c, i, j]] instead, an offset in x of image 0; 0 where order is negative
## Darknet's shortcut: `other` counts (and alpha with it) only at every other_up-th row and column and only where
## c < other_channels, i / other_up < other_rows, j / other_up < other_columns; elsewhere v stays.
## up       nearest-neighbour magnification; row_offset, column_offset: where a crop begins
## group_n, group_rows  work-items of a work-group along a row, and rows
<%namespace name="common" file="common.mako"/>
${common.activation_function(activation, 1)}
__kernel ${work_group_attributes(group_n, group_rows, 1)}
void pointwise(__global const float *restrict x,
% if scaled:
               __global const float *restrict scale,
               __global const float *restrict shift,
% endif
% if summed or factor:
               __global const float *restrict other,
% endif
% if ordered:
               __global const int *restrict order,
% endif
               __global float *restrict y,
               const float alpha,
               const float beta,
               const int batch,
               const int out_height,
               const int out_width,
               const int row_offset,
               const int column_offset,
               const int x_origin,
               const int x_pitch,
               const int x_image_stride,
               const int x_channel_stride,
               const int other_channels,
               const int other_rows,
               const int other_columns,
               const int other_origin,
               const int other_pitch,
               const int other_image_stride,
               const int other_channel_stride,
               const int y_origin,
               const int y_pitch,
               const int y_image_stride,
               const int y_channel_stride)
{
    const int column = get_global_id(0), row = get_global_id(1);
    const int channel = get_global_id(2) / batch, image = get_global_id(2) - channel * batch;
    if (column >= out_width || row >= out_height) return;
% if ordered:
    const int place = order[(channel * out_height + row) * out_width + column];
    float v = place < 0 ? ${c_float(0)} : x[x_origin + (size_t)image * x_image_stride + place];
% else:
    const int x_row = row / ${up} + row_offset, x_column = column / ${up} + column_offset;
    float v = x[x_origin + (size_t)channel * x_channel_stride + (size_t)image * x_image_stride + x_row * x_pitch + x_column];
% endif
% if scaled:
    v = v * scale[channel] + shift[channel];
% endif
% if summed:
    if (channel < other_channels && row % ${other_up} == 0 && column % ${other_up} == 0
        && row / ${other_up} < other_rows && column / ${other_up} < other_columns)
        v = alpha * v + beta * other[other_origin + (size_t)channel * other_channel_stride + (size_t)image * other_image_stride
                                     + row / ${other_up} * ${other_step} * other_pitch + column / ${other_up} * ${other_step}];
% endif
% if factor == "channel":
    v *= other[other_origin + (size_t)channel * other_channel_stride + (size_t)image * other_image_stride];
% elif factor:
    v *= other[other_origin + ${"" if factor == "plane" else "(size_t)channel * other_channel_stride + "}(size_t)image * other_image_stride + row * other_pitch + column];
% endif
    y[y_origin + (size_t)channel * y_channel_stride + (size_t)image * y_image_stride + row * y_pitch + column] = activate(v);
}
