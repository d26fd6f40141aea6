## Planes of another size: each value is a sum over few rows and columns of the input.
##
##   y[n, c, i, j] = sum_a row_shares[i, a] * sum_b column_shares[j, b] * x[n, c, row_offsets[i, a] + column_offsets[j, b]]
##
## Layout   see clprune/layout.py; a work-item computes one value
## taps     rows, and columns, of a sum; row_offsets are rows times the pitch of x
## group_n, group_rows  work-items of a work-group along a row, and rows
<%namespace name="common" file="common.mako"/>
${common.multiply_add_macro()}
__kernel ${work_group_attributes(group_n, group_rows, 1)}
void resize(__global const float *restrict x,
            __global const int *restrict row_offsets,
            __global const float *restrict row_shares,
            __global const int *restrict column_offsets,
            __global const float *restrict column_shares,
            __global float *restrict y,
            const int batch,
            const int out_height,
            const int out_width,
            const int x_origin,
            const int x_image_stride,
            const int x_channel_stride,
            const int y_origin,
            const int y_pitch,
            const int y_image_stride,
            const int y_channel_stride)
{
    const int column = get_global_id(0), row = get_global_id(1);
    const int channel = get_global_id(2) / batch, image = get_global_id(2) - channel * batch;
    if (column >= out_width || row >= out_height) return;
    x += x_origin + (size_t)channel * x_channel_stride + (size_t)image * x_image_stride;
% for b in range(taps):
    const int place_${b} = column_offsets[column * ${taps} + ${b}];
    const float share_${b} = column_shares[column * ${taps} + ${b}];
% endfor
    float sum = ${c_float(0)};
% for a in range(taps):
    {
        __global const float *restrict line = x + row_offsets[row * ${taps} + ${a}];
        float part = share_0 * line[place_0];
    % for b in range(1, taps):
        part = MULTIPLY_ADD(share_${b}, line[place_${b}], part);
    % endfor
        sum = MULTIPLY_ADD(row_shares[row * ${taps} + ${a}], part, sum);
    }
% endfor
    y[y_origin + (size_t)channel * y_channel_stride + (size_t)image * y_image_stride + row * y_pitch + column] = sum;
}
