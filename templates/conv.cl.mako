## Direct convolution over zero-padded planes, dense or with columns removed; bias, activation and, where `pooled`, the
## 2x2 max pooling that follows are fused.
##
##   y[m, p] = activate(bias[m] + sum_k W[m, k] * x[in(p) + offset[k]])
##   pooled:  y[m, q] = max of these over the four positions p of output q
##
## m: output channel; p: output position; k = (input channel, filter row, filter column): each is one offset into the
## padded input, so there is no im2col and a removed column is one offset less in a list.
##
## Layout   x, y: see clprune/layout.py (CNHW planes, shared zero padding)
##          blocks[row block][6]: start of its list, kept columns, start of its values, first row, rows, and the largest
##          `kept` among the row blocks of one work-group
##          offsets: lists of input offsets; dense row blocks of a group share one list
##          weights[row block][kept column][tile_m], bias[row block][tile_m], scales[row block][tile_m]: short blocks are
##          filled with zeros; see storage.mako
##          valid[p] (mapping "flat"): -1 where p is an output, 0 where it is padding, which is written as zero
##
## tile_m        output channels per work-item
## vector_width  positions per vector;  vectors: vectors per work-item
## group_m, group_n  work-items of a work-group along row blocks and along positions
## tile_k        columns whose weights are staged in local memory at once; 0: weights are read from global memory
## k_unroll      columns per turn of the inner loop
## prefetch      columns by which the inner loop runs ahead to bring input into cache (0: not at all); also brings the
##               output's lines before they are written. Columns that are kept lie too far apart for hardware prefetchers
## mapping       "flat": positions run through the padded rows (stride 1, input and output of one pitch);
##               "rows": each vector lies in one output row
##               "flat" may read group_n * vectors * vector_width values behind the last position (READ_MARGIN holds them)
## sweep         work-groups along row blocks that are walked through before the next positions (0: all of them). The
##               weights of a sweep stay in cache while positions go by; positions run along the lanes of a warp
##
## Source: direct convolution by offsets as in Escort (arXiv:1802.10280); unit = tile_m x 1 as in BCBP (AAAI 2023).
<%namespace name="common" file="common.mako"/>
<%namespace name="convolution" file="convolution.mako"/>
<%namespace name="storages" file="storage.mako"/>
<%
    T, I = vector_type("float", vector_width), vector_type("int", vector_width)
    row_step = 2 if pooled else 1
    rows, slots = range(tile_m), range(vectors)
    parts = range(vectors * row_step)
    store_width = vector_width // row_step
    S = vector_type("float", store_width)
    # 4-bit weights have no addresses of their own: an index moves in place of the pointer.
    moving = "at" if storage == "codebook4" else "w"

    def weight(index):
        """A weight of the row block, `index` values behind what moves, as an expression."""
        return storages.weight("w", f"at + {index}" if storage == "codebook4" else index)
    # One element of every cache line of 16 values that a column's vectors may touch.
    if mapping == "flat":
        touched = [f"in{v}" for v in parts] + [f"in{vectors - 1} + {vector_width - 1}"]
    else:
        ends = [f"in{v} + {stride * (vector_width - 1)}" for v in parts[-row_step:]]
        touched = [f"in{v}" for v in parts] + ends
%>
${common.multiply_add_macro()}
% if prefetch:
${common.prefetch_macros()}
% endif
${common.activation_function(activation, vector_width)}
% if store_width <= 4:
${common.partial_store_function(store_width)}
% endif
% if pooled:
${convolution.pool_function()}
% endif
<%def name="columns(count, weight, offset)">
% for u in range(count):
    {
        __global const float *p = x + ${offset(u)};
% if prefetch:
        { __global const float *ahead = x + list[k + ${u + prefetch}];
% for distance in touched:
        PREFETCH(ahead + ${distance});
% endfor
        }
% endif
% for v in parts:
        const ${T} b${v} = ${convolution.load_positions(f"p + in{v}")};
% endfor
% for i in rows:
        { const ${T} a = (${T})(${weight(u, i)});
% for v in parts:
        c${i}_${v} = MULTIPLY_ADD(a, b${v}, c${i}_${v});
% endfor
        }
% endfor
    }
% endfor
</%def>
__kernel __attribute__((reqd_work_group_size(${group_n}, ${group_m}, 1)))
void conv(__global const float *restrict x,
          __global const ${storages.stored_type()} *restrict weights,
          ${storages.storage_parameters()},
          __global const int *restrict offsets,
          __global const int *restrict blocks,
          __global const float *restrict bias,
          __global const char *restrict valid,
          __global float *restrict y,
          const int block_count,
          ${convolution.position_parameters()})
{
    ${convolution.work_group()}
% if storage == "codebook4":
    __global const uchar *w = weights;
    int at = descriptor[2];
% else:
    __global const ${storages.stored_type()} *w = weights + descriptor[2];
% endif
    ${convolution.positions()}
    ${convolution.prefetch_output()}
% for i in rows:
    const float bias${i} = bias[block * ${tile_m} + ${i}];
% for v in parts:
    ${T} c${i}_${v} = (${T})(${c_float(0) if storage == "int8" else f"bias{i}"});
% endfor
% endfor
% if tile_k:
    const int group_kept = descriptor[5];
    __local float staged_weights[${group_m * tile_k * tile_m}] __attribute__((aligned(16)));
    __local int staged_offsets[${group_m * tile_k}];
    for (int first = 0; first < group_kept; first += ${tile_k}) {
        const int count = clamp(kept - first, 0, ${tile_k});
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int t = local_n; t < count * ${tile_m}; t += ${group_n}) staged_weights[local_m * ${tile_k * tile_m} + t] = ${weight(f"first * {tile_m} + t")};
        for (int t = local_n; t < count; t += ${group_n}) staged_offsets[local_m * ${tile_k} + t] = list[first + t];
        barrier(CLK_LOCAL_MEM_FENCE);
        __local const float *tile_weights = staged_weights + local_m * ${tile_k * tile_m};
        __local const int *tile_list = staged_offsets + local_m * ${tile_k};
        int k = 0;
% if k_unroll > 1:
        for (; k + ${k_unroll} <= count; k += ${k_unroll}) {
            ${columns(k_unroll, lambda u, i: f"tile_weights[(k + {u}) * {tile_m} + {i}]", lambda u: f"tile_list[k + {u}]")}
        }
% endif
        for (; k < count; k++) {
            ${columns(1, lambda u, i: f"tile_weights[k * {tile_m} + {i}]", lambda u: "tile_list[k]")}
        }
    }
% else:
    int k = 0;
% if k_unroll > 1:
    for (; k + ${k_unroll} <= kept; k += ${k_unroll}) {
        ${columns(k_unroll, lambda u, i: weight(u * tile_m + i), lambda u: f"list[k + {u}]")}
        ${moving} += ${k_unroll * tile_m};
    }
% endif
    for (; k < kept; k++) {
        ${columns(1, lambda u, i: weight(i), lambda u: "list[k]")}
        ${moving} += ${tile_m};
    }
% endif
% if storage == "int8":
% for i in rows:
    { const ${T} scale = (${T})(scales[block * ${tile_m} + ${i}]), shift = (${T})(bias${i});
% for v in parts:
    c${i}_${v} = MULTIPLY_ADD(c${i}_${v}, scale, shift);
% endfor
    }
% endfor
% endif
    ${convolution.store()}
}
