## Winograd convolution F(m x m, 3 x 3) of stride 1 for GPUs, dense or with channels removed from its matrices, in three
## kernels; bias, activation and, where `pooled`, the 2x2 max pooling that follows are fused into the last.
##
##   winograd_input     V_xi[c, t] = (B^T d[c, t] B)_xi          xi = one of the alpha^2 elements of a tile, alpha = m + 2
##   winograd_multiply  M_xi[o, t] = sum_c U_xi[o, c] V_xi[c, t] over the kept channels c of the work-group's rows in U_xi
##   winograd_output    Y[o, t]    = activate(bias[o] + A^T M[o, t] A)
##
## t: tile, c: input channel, o: output channel. The transforms are those of winograd_stages.mako, a tile per work-item. In the
## product a work-group computes group_m * tile_m output channels at group_n * vectors * 4 tiles of one matrix, all of which
## follow one list of kept channels, chunk by chunk: see register_tile.mako. Its inputs lie side by side, whole vectors.
##
## Layout   x, y: see clprune/layout.py
##          blocks[row block of group_m * tile_m][xi][3]: start of its list, kept channels with fill, start of its values
##          offsets: lists of offsets of kept channels in V, filled up to whole chunks
##          values[list entry][group_m * tile_m]: zeros for rows and channels that only fill up; bias[row block][same]
##          V[xi][channel][tile], M[xi][output channel][tile]: rows of `row_stride` tiles, filled up to whole work-groups; a gap
##          behind every matrix, as in winograd.cl.mako
##
## tile_m        output channels per work-item, a multiple of 4;  vectors: vectors of four tiles per work-item
## group_m, group_n  work-items of a work-group along output channels and along tiles
## tile_k        channels of a chunk
##
## Source: Lavin & Gray, arXiv:1509.09308, section 4, and register_tile.mako.
<%namespace name="common" file="common.mako"/>
<%namespace name="stages" file="winograd_stages.mako"/>
<%namespace name="register_tile" file="register_tile.mako"/>
<% matrices, parts, rows = input_tile * input_tile, range(part_count), range(tile_m) %>
${common.multiply_add_macro()}
${common.activation_function(activation, 1)}
${common.sum_functions()}
${register_tile.input_macro("v", is_aligned=True)}
${register_tile.place_macros()}
${register_tile.pair_macro()}
${stages.input_kernel(items)}
## Where the work-group's tile `q` lies in its row of V.
<%def name="input_place(q)" filter="trim">
    n_group * ${width} + ${q}
</%def>
__kernel ${work_group_attributes(group_n, group_m, 1)}
void winograd_multiply(__global const float *restrict V,
                       __global const float *restrict values,
                       __global const int *restrict offsets,
                       __global const int *restrict blocks,
                       __global float *restrict M,
                       const int channels,
                       const int block_count,
                       const int row_stride)
{
    const int local_m = ${"get_local_id(1)" if group_m > 1 else "0"}, local_n = ${"get_local_id(0)" if group_n > 1 else "0"};
    const int n_group = get_group_id(0), m_group = get_group_id(1), xi = get_group_id(2);
    __global const int *descriptor = blocks + (m_group * ${matrices} + xi) * 3;
    const int columns = descriptor[1];
    __global const int *group_list = offsets + descriptor[0];
    const int item = local_m * ${group_n} + local_n;
    __global const float *v = V + xi * ((size_t)channels * row_stride + ${gap});
    ${register_tile.staged_places(input_place)}
    __global const float *w = values + descriptor[2];
% for i in rows:
% for n in parts:
    float4 c${i}_${n} = (float4)(${c_float(0)});
% endfor
% endfor
    ${register_tile.multiply_columns()}
    __global float *products = M + xi * ((size_t)block_count * ${group_rows} * row_stride + ${gap})
                             + (size_t)(m_group * ${group_rows} + local_m * ${tile_m}) * row_stride + n_group * ${width} + local_n * 4;
% for i in rows:
% for n in parts:
    *(__global float4 *)(products + ${i} * row_stride + ${n * run}) = c${i}_${n};
% endfor
% endfor
}

## In 32 bits, which reach: LLVM 15 for AMD adds up 36 addresses per work-item where a factor of 64 is multiplied in 64 bits.
${stages.output_kernel(items, f"(size_t)(block_count * {group_rows} * row_stride + {gap})")}
