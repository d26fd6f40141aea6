## The first and the last of the three kernels of a Winograd convolution whose product is a kernel of its own; what they read
## and write: see winograd.cl.mako.
##
##   winograd_input     V_xi[c, t] = (B^T d[c, t] B)_xi
##   winograd_output    Y[o, t]    = activate(bias[o] + A^T M[o, t] A)
##
## A work-item transforms a strip of tiles (winograd.mako) in channels_per_item channels, one after another. Where strips are
## tiles (vector_width 1), neighbouring work-items have neighbouring tiles.
<%namespace name="common" file="common.mako"/>
<%namespace name="winograd" file="winograd.mako"/>
## In work-groups of `items`.
<%def name="input_kernel(items)">
__kernel ${work_group_attributes(items, 1, 1)}
void winograd_input(__global const float *restrict x,
                    __global float *restrict V,
                    const int channels,
                    const int strip_count,
                    const int row_stride,
                    const int segment_count,
                    const int segments_per_row,
                    const int tile_rows,
                    const int x_start,
                    const int x_pitch,
                    const int x_image_stride,
                    const int x_channel_stride,
                    const int last_row,
                    const int padded_width)
{
    const int chunk = get_global_id(0) / strip_count, strip = get_global_id(0) - chunk * strip_count;
    const int first_channel = chunk * ${channels_per_item}, last_channel = min(first_channel + ${channels_per_item}, channels);
    const int first_segment = strip * ${segments};
    const int v_stride = channels * row_stride + ${gap};
    ${winograd.input_corners()}
    __global const float *channel = x + (size_t)first_channel * x_channel_stride;
    __global float *v = V + (size_t)first_channel * row_stride + strip * ${vector_width};
    for (int c = first_channel; c < last_channel; c++) {
% if prefetch:
        ${winograd.prefetch_channel("channel")}
% endif
        ${winograd.input_transform("channel", lambda xi, value: vector_store(vector_width, value, f"v + {xi} * (size_t)v_stride"))}
        channel += x_channel_stride;
        v += row_stride;
    }
}
</%def>
## The same; `m_stride`: elements between M_xi and the next.
<%def name="output_kernel(items, m_stride)">
__kernel ${work_group_attributes(items, 1, 1)}
void winograd_output(__global const float *restrict M,
% if added:
                     __global const float *restrict other,
                     const int other_shift,
% endif
                     __global const float *restrict bias,
                     __global float *restrict y,
                     const int filters,
                     const int block_count,
                     const int strip_count,
                     const int row_stride,
                     const int segment_count,
                     const int segments_per_row,
                     const int tile_rows,
                     const int y_origin,
                     const int y_pitch,
                     const int y_image_stride,
                     const int y_channel_stride,
                     const int out_width,
                     const int out_height)
{
% if added:
    __global float *const y_start = y;
    other += other_shift;
% endif
    const int chunk = get_global_id(0) / strip_count, strip = get_global_id(0) - chunk * strip_count;
    const int first_filter = chunk * ${channels_per_item}, last_filter = min(first_filter + ${channels_per_item}, filters);
    const int first_segment = strip * ${segments};
    const size_t m_stride = ${m_stride};
    ${winograd.output_corners()}
    __global const float *products = M + (size_t)first_filter * row_stride + strip * ${vector_width};
    __global float *plane = y + (size_t)first_filter * y_channel_stride;
    for (int o = first_filter; o < last_filter; o++) {
        const float bias_value = bias[o];
% if prefetch:
        ${winograd.prefetch_plane("plane")}
% endif
        ${winograd.output_transform("plane", lambda xi: vector_load(vector_width, f"products + {xi} * m_stride"))}
        products += row_stride;
        plane += y_channel_stride;
    }
}
</%def>
