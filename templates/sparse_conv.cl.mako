## Direct sparse convolution over zero-padded planes: single weights removed; bias, activation and, where `pooled`, the
## 2x2 max pooling that follows are fused.
##
##   y[m, p] = activate(bias[m] + sum over entries e of row m of value[e] * x[in(p) + offset[e]])
##   pooled:  y[m, q] = max of these over the four positions p of output q
##
## m: output channel; p: output position; an entry is a weight that is not zero, its offset that of (input channel,
## filter row, filter column) in the padded input. One row runs over a long tile of positions, so that each offset and
## value is read once for all of them; the rows of a block follow one another over the same positions, whose inputs stay
## in cache meanwhile.
##
## Layout   x, y: see clprune/layout.py (CNHW planes, shared zero padding)
##          blocks[blocks + 1]: where each block begins among the rows; blocks hold about as many entries each
##          rows[row][3]: first entry, entries, output channel
##          offsets[entry], values[entry]
##          bias[output channel]; scales[output channel], codebook: see storage.mako
##          valid[p] (mapping "flat"): -1 where p is an output, 0 where it is padding, which is written as zero
##
## block_rows    rows per block, on average
## vector_width  positions per vector;  vectors: vectors per work-item
## group_m, group_n  work-items of a work-group along blocks and along positions
## k_unroll      entries per turn of the inner loop
## prefetch      entries by which the inner loop runs ahead to bring input into cache (0: not at all)
## mapping       as in conv.cl.mako
##
## Source: Escort (arXiv:1802.10280): compressed rows over the padded input; rows ordered and grouped by their length as
## in Sputnik's row swizzle (arXiv:2006.10901), which orders them only: equal sums per block are ours.
<%namespace name="common" file="common.mako"/>
<%namespace name="convolution" file="convolution.mako"/>
<%namespace name="storages" file="storage.mako"/>
<%
    T, I = vector_type("float", vector_width), vector_type("int", vector_width)
    local_m = "get_local_id(1)" if group_m > 1 else "0"
    local_n = "get_local_id(0)" if group_n > 1 else "0"
    row_step = 2 if pooled else 1
    slots, parts = range(vectors), range(vectors * row_step)
    store_width = vector_width // row_step
    # One element of every cache line of 16 values that an entry's vectors may touch.
    touched = [f"in{v}" for v in parts] + [f"in{v} + {stride_x * (vector_width - 1)}" for v in (parts[-1:] if mapping == "flat" else parts[-row_step:])]
%>
${common.multiply_add_macro()}
% if prefetch:
${common.prefetch_macros()}
% endif
${common.activation_function(activation, vector_width)}
${common.partial_store_function(store_width)}
% if pooled:
${convolution.pool_function()}
% endif
<%def name="entries(count)">
% for u in range(count):
        {
            __global const float *p = x + offsets[e + ${u}];
            const ${T} a = (${T})(${storages.weight("values", f"e + {u}")});
% if prefetch:
            { __global const float *ahead = x + offsets[e + ${u + prefetch}];
% for distance in touched:
            PREFETCH(ahead + ${distance});
% endfor
            }
% endif
% for v in parts:
            c${v} = MULTIPLY_ADD(a, ${convolution.load_positions(f"p + in{v}")}, c${v});
% endfor
        }
% endfor
</%def>
__kernel ${work_group_attributes(group_n, group_m, 1)}
void sparse_conv(__global const float *restrict x,
          __global const ${storages.stored_type()} *restrict values,
          ${storages.storage_parameters()},
          __global const int *restrict offsets,
          __global const int *restrict rows,
          __global const int *restrict blocks,
          __global const float *restrict bias,
          __global const char *restrict valid,
          __global float *restrict y,
          const int block_count,
          ${convolution.position_parameters()})
{
    const int local_m = ${local_m}, local_n = ${local_n};
    const int m_groups = (block_count + ${group_m - 1}) / ${group_m}, group = get_group_id(0);
    const int n_group = group / m_groups, m_group = group - n_group * m_groups;
    const int block = m_group * ${group_m} + local_m;
    if (block >= block_count) return;
    const int first_slot = n_group * ${group_n * vectors} + local_n;
    ${convolution.positions()}
    const int last_row = blocks[block + 1];
    for (int r = blocks[block]; r < last_row; r++) {
        __global const int *descriptor = rows + r * 3;
        const int end = descriptor[0] + descriptor[1], channel = descriptor[2];
        const ${T} start = (${T})(${c_float(0) if storage == "int8" else "bias[channel]"});
% for v in parts:
        ${T} c${v} = start;
% endfor
        int e = descriptor[0];
% if k_unroll > 1:
        for (; e + ${k_unroll} <= end; e += ${k_unroll}) {
${entries(k_unroll)}
        }
% endif
        for (; e < end; e++) {
${entries(1)}
        }
% if storage == "int8":
        const float scale = scales[channel], shift = bias[channel];
% for v in parts:
        c${v} = MULTIPLY_ADD(c${v}, (${T})(scale), (${T})(shift));
% endfor
% endif
        __global float *out = y + (size_t)channel * y_channel_stride;
<%
    def result(j):
        """What is stored for slot j, as an expression."""
        if pooled:
            return f"pool(activate(c{2 * j}), activate(c{2 * j + 1}))"
        if mapping == "flat":
            return f"as_{T}(as_{I}(activate(c{j})) & keep)"
        return f"activate(c{j})"
%>
% for j in slots:
        if (is_slot${j}) {
% if mapping == "flat":
            const ${I} keep = convert_${I}(${vector_load(vector_width, f"valid + position{j}")});
% endif
            if (count${j} >= ${store_width}) { ${vector_store(store_width, result(j), f"out + out{j}")} }
            else store_first(${result(j)}, count${j}, out + out${j});
        }
% endfor
    }
}
