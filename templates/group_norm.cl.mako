## Group normalization: each image's groups of channels with their own mean and variance, then a factor and an offset of
## each channel. A group is one channel in instance normalization.
##
##   y[n, c, p] = (x[n, c, p] - mean) / sqrt(variance + epsilon) * values[c] + bias[c]
##
## mean and variance are those of all places of the group's channels, the variance of the differences from the mean.
## (Wu & He, "Group Normalization", ECCV 2018.)
##
## Layout   see clprune/layout.py; one work-group per image and group
## vector_width  places of a row that a work-item takes at once; only of work-groups of one
## group_n       work-items that share a group's places; they meet in local memory
<%namespace name="common" file="common.mako"/>
<% T = vector_type("float", vector_width) %>
## Sums `value` of all work-items.
<%def name="sum()">
% if group_n > 1:
    scratch[item] = value;
    barrier(CLK_LOCAL_MEM_FENCE);
% for step in [group_n >> shift for shift in range(1, group_n.bit_length())]:
    if (item < ${step}) scratch[item] += scratch[item + ${step}];
    barrier(CLK_LOCAL_MEM_FENCE);
% endfor
    value = scratch[0];
    barrier(CLK_LOCAL_MEM_FENCE);
% endif
</%def>
## Goes through the places of a group: `whole` of a vector `v` at `at`, `single` of a value.
<%def name="places(whole, single)">
% if vector_width > 1:
    for (int row = 0; row < rows; row++) {
        const int c = row / height, at = c * x_channel_stride + (row - c * height) * x_pitch;
        const int to = c * y_channel_stride + (row - c * height) * y_pitch;
        int column = 0;
        for (; column + ${vector_width} <= width; column += ${vector_width}) {
            const ${T} v = ${vector_load(vector_width, "in + at + column")};
            ${whole}
        }
        for (; column < width; column++) {
            const float v = in[at + column];
            ${single}
        }
    }
% else:
    for (int i = item; i < rows * width; i += ${group_n}) {
        const int row = i / width, column = i - row * width, c = row / height;
        const int at = c * x_channel_stride + (row - c * height) * x_pitch;
        const int to = c * y_channel_stride + (row - c * height) * y_pitch;
        const float v = in[at + column];
        ${single}
    }
% endif
</%def>
${common.multiply_add_macro()}
__kernel ${work_group_attributes(group_n, 1, 1)}
void group_norm(__global const float *restrict x,
                __global float *restrict y,
                __global const float *restrict values,
                __global const float *restrict bias,
                const int groups,
                const int channels,
                const int height,
                const int width,
                const float share,
                const float epsilon,
                const int x_origin,
                const int x_pitch,
                const int x_image_stride,
                const int x_channel_stride,
                const int y_origin,
                const int y_pitch,
                const int y_image_stride,
                const int y_channel_stride)
{
    const int item = get_local_id(0), image = get_group_id(0) / groups;
    const int first = (get_group_id(0) - image * groups) * channels, rows = channels * height;
    __global const float *in = x + x_origin + (size_t)image * x_image_stride + (size_t)first * x_channel_stride;
    __global float *out = y + y_origin + (size_t)image * y_image_stride + (size_t)first * y_channel_stride;
% if group_n > 1:
    __local float scratch[${group_n}];
% endif
    float value = ${c_float(0)};
% if vector_width > 1:
    ${T} sums = (${T})(${c_float(0)});
% endif
    ${places("sums += v;", "value += v;")}
% if vector_width > 1:
% for lane in range(vector_width):
    value += sums.s${f"{lane:x}"};
% endfor
    sums = (${T})(${c_float(0)});
% endif
    ${sum()}
    const float mean = value * share;
    value = ${c_float(0)};
    ${places("sums = MULTIPLY_ADD(v - mean, v - mean, sums);", "value = MULTIPLY_ADD(v - mean, v - mean, value);")}
% if vector_width > 1:
% for lane in range(vector_width):
    value += sums.s${f"{lane:x}"};
% endfor
% endif
    ${sum()}
    const float factor = 1 / sqrt(value * share + epsilon);
<%
    result = "(v - mean) * (factor * values[first + c]) + bias[first + c]"
    whole = f"const {T} result = {result}; " + vector_store(vector_width, "result", "out + to + column") if vector_width > 1 else ""
%>
    ${places(whole, f"out[to + column] = {result};")}
}
