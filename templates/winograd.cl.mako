## Winograd convolution F(m x m, 3 x 3) of stride 1, dense or with columns removed from its matrices, in three kernels;
## bias, activation and, where `pooled`, the 2x2 max pooling that follows are fused into the last.
##
##   winograd_input     V_xi[c, t] = (B^T d[c, t] B)_xi          xi = one of the alpha^2 elements of a tile, alpha = m + 2
##   winograd_multiply  M_xi[o, t] = sum_c U_xi[o, c] V_xi[c, t] over the kept channels c of the row block of o in U_xi
##   winograd_output    Y[o, t]    = activate(bias[o] + A^T M[o, t] A)
##
## t: tile, c: input channel, o: output channel. The middle one is a batched matrix product: every weight is read once
## per `vectors * vector_width * group_n` tiles, and all compute units share one V. For GPUs, and where there are more
## channels than a cache holds transformed.
##
## Layout   x, y: see clprune/layout.py; strips and segments: see winograd.mako
##          blocks[row block][xi][3]: start of its list, kept channels, start of its values
##          offsets: lists of offsets of kept channels in V; values[list entry][tile_m]; bias[row block][tile_m]
##          V[xi][channel][tile], M[xi][output channel][tile]: rows of `row_stride` tiles, filled up to whole register
##          tiles; a gap behind every matrix keeps the alpha^2 streams out of one cache set
##
## tile_m        output channels per register tile;  vectors: strips of tiles per register tile
## vector_width  tiles per vector;  columns: tiles side by side in a segment
## group_m, group_n  work-items of a work-group along row blocks and along tiles
## tile_k        channels whose weights are staged in local memory at once; 0: weights are read from global memory
## sweep         row blocks that a work-item multiplies one after another with the same tiles
## channels_per_item  channels that a work-item transforms, one after another
## prefetch      channels by which the transforms run ahead to bring x and the places of y into cache (0: not at all)
## prefetch_values  weights by which the multiplication runs ahead to bring them into cache (0: not at all). They are read
##               once, in order, yet twice as fast where a core does not wait for its hardware to notice
##
## Source: Lavin & Gray, arXiv:1509.09308, section 4; unit tile_m x 1 in U_xi: our reading of WSP/BWSP (ICCV 2025).
<%namespace name="common" file="common.mako"/>
<%namespace name="winograd" file="winograd.mako"/>
<%namespace name="stages" file="winograd_stages.mako"/>
<%
    T = vector_type("float", vector_width)
    rows, slots, matrices = range(tile_m), range(vectors), input_tile * input_tile
    work_items = group_m * group_n
    local_m = "get_local_id(1)" if group_m > 1 else "0"
    local_n = "get_local_id(0)" if group_n > 1 else "0"
%>
${common.multiply_add_macro()}
${winograd.shuffle_macros()}
% if prefetch or prefetch_values:
${common.prefetch_macros()}
% endif
${common.activation_function(activation, vector_width)}
${common.sum_functions()}
${stages.input_kernel(work_items)}
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
    const int local_m = ${local_m}, local_n = ${local_n};
% if tile_k:
    __local float staged_weights[${group_m * tile_k * tile_m}] __attribute__((aligned(16)));
    __local int staged_offsets[${group_m * tile_k}];
% endif
    const int chunks = row_stride / ${vectors * group_n * vector_width};
    const int block_groups = (block_count + ${group_m * sweep - 1}) / ${group_m * sweep};
    const int rest = get_group_id(0) / chunks, chunk = get_group_id(0) - rest * chunks;
    const int xi = rest / block_groups, first_block = (rest - xi * block_groups) * ${group_m * sweep} + local_m;
    const int first_tile = (chunk * ${vectors * group_n} + local_n) * ${vector_width};
    __global const float *v = V + xi * ((size_t)channels * row_stride + ${gap}) + first_tile;
    __global float *m = M + xi * ((size_t)block_count * ${tile_m} * row_stride + ${gap}) + first_tile;
% if sweep > 1:
    for (int s = 0; s < ${sweep}; s++) {
    const int wanted_block = first_block + s * ${group_m};
% else:
    {
    const int wanted_block = first_block;
% endif
% if tile_k:
    const int block = min(wanted_block, block_count - 1);
% else:
    if (wanted_block >= block_count) return;
    const int block = wanted_block;
% endif
    __global const int *descriptor = blocks + (block * ${matrices} + xi) * 3;
    __global const int *list = offsets + descriptor[0];
    __global const float *u = values + descriptor[2];
    const int kept = descriptor[1];
% for i in rows:
% for n in slots:
    ${T} c${i}_${n} = (${T})(${c_float(0)});
% endfor
% endfor
% if tile_k:
    ## Every list of the work-group has to be walked through by all: barriers are for everyone.
    int group_kept = 0;
    for (int i = 0; i < ${group_m}; i++) {
        const int other = min(wanted_block - local_m + i, block_count - 1);
        group_kept = max(group_kept, blocks[(other * ${matrices} + xi) * 3 + 1]);
    }
    for (int first = 0; first < group_kept; first += ${tile_k}) {
        const int count = clamp(kept - first, 0, ${tile_k});
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int t = local_n; t < count * ${tile_m}; t += ${group_n}) staged_weights[local_m * ${tile_k * tile_m} + t] = u[first * ${tile_m} + t];
        for (int t = local_n; t < count; t += ${group_n}) staged_offsets[local_m * ${tile_k} + t] = list[first + t];
        barrier(CLK_LOCAL_MEM_FENCE);
        __local const float *tile_weights = staged_weights + local_m * ${tile_k * tile_m};
        __local const int *tile_list = staged_offsets + local_m * ${tile_k};
        for (int k = 0; k < count; k++) {
            __local const float *w = tile_weights + k * ${tile_m};
            ${winograd.add_channel("w", "tile_list[k]")}
        }
    }
    if (wanted_block < block_count) {
% else:
    for (int k = 0; k < kept; k++) {
        ${winograd.add_channel("u", "list[k]", prefetch_values)}
        u += ${tile_m};
    }
    {
% endif
        __global float *products = m + (size_t)block * ${tile_m} * row_stride;
% for i in rows:
% for n in slots:
        ${vector_store(vector_width, f"c{i}_{n}", f"products + {i} * row_stride + {n * group_n * vector_width}")}
% endfor
% endfor
    }
    }
}

${stages.output_kernel(work_items, f"(size_t)block_count * {tile_m} * row_stride + {gap}")}
