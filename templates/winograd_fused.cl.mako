## Winograd convolution F(m x m, 3 x 3) of stride 1, dense or with columns removed from its matrices, in one kernel;
## bias, activation and, where `pooled`, the 2x2 max pooling that follows are fused.
##
##   V_xi[c, t] = (B^T d[c, t] B)_xi           xi = one of the alpha^2 elements of a tile, alpha = m + 2
##   M_xi[o, t] = sum_c U_xi[o, c] V_xi[c, t]  over the kept channels c of the row block of o in U_xi
##   Y[o, t]    = activate(bias[o] + A^T M[o, t] A)
##
## t: tile, c: input channel, o: output channel. Each work-group carries passes of tiles through the three steps, with V
## and M in a scratch that is its own and stays in cache: transformed data never travels through main memory. Work-groups
## are few and persistent: they take every `groups`-th pass. Lanes and work-items hold different tiles and need nothing
## of each other.
##
## Layout   x, y: see clprune/layout.py; strips and segments: see winograd.mako
##          blocks[row block][xi][3]: start of its list, kept channels, start of its values
##          offsets: lists of offsets of kept channels in V; values[list entry][tile_m]; bias[row block][tile_m]
##          scratch, per work-group: V[xi][channel][vector][item][lane], a gap, then
##          M[xi][row of the sweep][vector][item][lane], a gap. The gaps keep the alpha^2 streams out of one cache set
##
## tile_m        output channels per register tile;  vectors: strips of tiles per register tile and pass
## vector_width  tiles per vector;  columns: tiles side by side in a segment
## group_n       work-items of a work-group
## groups        work-groups
## sweep         row blocks multiplied with one V_xi before the next: it then comes from the first level of cache
## prefetch      channels by which the transforms run ahead to bring x and the places of y into cache (0: not at all)
## prefetch_values  weights by which the multiplication runs ahead to bring them into cache (0: not at all)
##
## Source: Lavin & Gray, arXiv:1509.09308; unit tile_m x 1 in U_xi: our reading of WSP/BWSP (ICCV 2025). Persistent
## work-groups with the scratch in cache: ours.
<%namespace name="common" file="common.mako"/>
<%namespace name="winograd" file="winograd.mako"/>
<%
    T = vector_type("float", vector_width)
    item = "get_local_id(0)" if group_n > 1 else "0"
    lanes = group_n * vector_width
    rows, slots, matrices = range(tile_m), range(vectors), input_tile * input_tile
%>
${common.multiply_add_macro()}
${winograd.shuffle_macros()}
% if prefetch or prefetch_values:
${common.prefetch_macros()}
% endif
${common.activation_function(activation, vector_width)}
${common.sum_functions()}
__kernel ${work_group_attributes(group_n, 1, 1)}
void winograd_fused(__global const float *restrict x,
% if added:
                    __global const float *restrict other,
                    const int other_shift,
% endif
                    __global const float *restrict values,
                    __global const int *restrict offsets,
                    __global const int *restrict blocks,
                    __global const float *restrict bias,
                    __global float *restrict y,
                    __global float *restrict scratch,
                    const int channels,
                    const int filters,
                    const int pass_count,
                    const int segment_count,
                    const int segments_per_row,
                    const int tile_rows,
                    const int x_start,
                    const int x_pitch,
                    const int x_image_stride,
                    const int x_channel_stride,
                    const int last_row,
                    const int padded_width,
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
    const int item = ${item};
    const int v_stride = (channels * ${vectors} + 1) * ${lanes};
    const int block_count = (filters + ${tile_m - 1}) / ${tile_m};
    __global float *V = scratch + get_group_id(0) * (size_t)(${matrices} * (v_stride + ${m_stride})) + item * ${vector_width};
    __global float *M = V + (size_t)${matrices} * v_stride;
    ## Passes one above the other share rows of x: each work-group has a run of them.
    // As equal as can be, in 32 bits: a division of 64 is a call on GPUs, around which registers are spilled.
    const int group = get_group_id(0), group_count = get_num_groups(0);
    const int passes = pass_count / group_count, more = pass_count - passes * group_count;
    const int first_pass = group * passes + min(group, more), last_pass = first_pass + passes + (group < more);
    for (int pass = first_pass; pass < last_pass; pass++) {
<% lines = [(g, r) for g in range(segments) for r in range(input_tile)] %>
        int lines[${vectors}][${len(lines)}];
% if partial_columns:
        ${vector_type("int", vector_width)} lefts[${vectors}];
% endif
        for (int n = 0; n < ${vectors}; n++) {
            const int first_segment = ((pass * ${vectors} + n) * ${group_n} + item) * ${segments};
            ${winograd.input_corners()}
% for index, (g, r) in enumerate(lines):
            lines[n][${index}] = line${g}_${r};
% endfor
% if partial_columns:
            lefts[n] = left;
% endif
        }
        ## Strips side by side share lines of cache, hence strip after strip in one channel. A loop: code that is as long
        ## as all strips' takes minutes to compile.
        for (int c = 0; c < channels; c++) {
            for (int n = 0; n < ${vectors}; n++) {
                __global const float *channel = x + (size_t)c * x_channel_stride;
                __global float *v = V + (c * ${vectors} + n) * ${lanes};
% for index, (g, r) in enumerate(lines):
                const int line${g}_${r} = lines[n][${index}];
% endfor
% if partial_columns:
                const ${vector_type("int", vector_width)} left = lefts[n];
% endif
% if prefetch:
                ${winograd.prefetch_channel("channel")}
% endif
                ${winograd.input_transform("channel", lambda xi, value: vector_store(vector_width, value, f"v + {xi} * v_stride"))}
            }
        }
        for (int first_block = 0; first_block < block_count; first_block += ${sweep}) {
            const int last_block = min(first_block + ${sweep}, block_count);
            for (int xi = 0; xi < ${matrices}; xi++) {
                __global const float *v = V + (size_t)xi * v_stride;
                __global float *products = M + xi * ${m_stride};
                for (int block = first_block; block < last_block; block++) {
                    __global const int *descriptor = blocks + (block * ${matrices} + xi) * 3;
                    __global const int *list = offsets + descriptor[0];
                    __global const float *u = values + descriptor[2];
                    const int kept = descriptor[1];
% for i in rows:
% for n in slots:
                    ${T} c${i}_${n} = (${T})(${c_float(0)});
% endfor
% endfor
                    for (int k = 0; k < kept; k++) {
                        ${winograd.add_channel("u", "list[k]", prefetch_values)}
                        u += ${tile_m};
                    }
% for i in rows:
% for n in slots:
                    ${vector_store(vector_width, f"c{i}_{n}", f"products + {(i * vectors + n) * lanes}")}
% endfor
% endfor
                    products += ${tile_m * vectors * lanes};
                }
            }
            for (int n = 0; n < ${vectors}; n++) {
                const int first_segment = ((pass * ${vectors} + n) * ${group_n} + item) * ${segments};
                ${winograd.output_corners()}
                const int first_filter = first_block * ${tile_m}, filter_count = min(last_block * ${tile_m}, filters) - first_filter;
                __global const float *products = M + n * ${lanes};
                __global float *plane = y + (size_t)first_filter * y_channel_stride;
                for (int o = 0; o < filter_count; o++) {
                    const float bias_value = bias[first_filter + o];
% if prefetch:
                    ${winograd.prefetch_plane("plane")}
% endif
                    ${winograd.output_transform("plane", lambda xi: vector_load(vector_width, f"products + {xi * m_stride}"))}
                    products += ${vectors * lanes};
                    plane += y_channel_stride;
                }
            }
        }
    }
}
