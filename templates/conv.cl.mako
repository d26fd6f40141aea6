## Direct convolution over zero-padded planes, dense or with columns removed; bias, activation and, where `pooled`, the
## 2x2 max pooling that follows are fused.
##
##   y[m, p] = activate(bias[m] + sum_k W[m, k] * x[in(p) + offset[k]])
##   pooled:  y[m, q] = max of these over the four positions p of output q
##   added:   y[m, p] = activate_sum(that + other[m, p]), a shortcut
##
## m: output channel; p: output position; k = (input channel, filter row, filter column): each is one offset into the
## padded input, so there is no im2col and a removed column is one offset less in a list.
##
## Layout   x, y: see clprune/layout.py (CNHW planes, shared zero padding)
##          blocks[row block][6]: start of its list, kept columns, start of its values, first row, rows, and the largest
##          `kept` among the row blocks of one work-group
##          offsets: lists of input offsets; dense row blocks of a group share one list
##          chunk_starts[row block][chunk]: how many of the row block's kept columns come before; at last all of them
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
##               "rows": each vector lies in one output row;
##               "packed": each vector holds whole output rows of 2, 4 or 8, of one image or all rows of several: no lane
##               lies in the padding between them. Of many rows, two loads that overlap are permuted (ours)
##               "flat" may read group_n * vectors * vector_width values behind the last position (READ_MARGIN holds them)
## row_distances mapping "packed": of each row of a vector, how far its input and its output lie behind those of the first.
##               Constants, which are part of addresses and take no registers
## sweep         work-groups along row blocks that are walked through before the next positions (0: all of them). The
##               weights of a sweep stay in cache while positions go by; positions run along the lanes of a warp
## turns         tiles of positions that a work-item computes one after another: of layers with few columns one takes little
##               longer than a CPU driver needs to hand out the next work-group
## chunk         columns of K that all `sweep` row blocks of a work-item multiply before the next ones, so that inputs come
##               from the first cache however many channels there are (0: each row block goes through all of K). Sums are
##               kept in local memory in between; with `prefetch` the inputs of the next chunk, or of the next tile of
##               positions, come into cache meanwhile, a part of them with each row block
## chunk_channels  the same in whole input channels
##
## Source: direct convolution by offsets as in Escort (arXiv:1802.10280); unit = tile_m x 1 as in BCBP (AAAI 2023).
<%namespace name="common" file="common.mako"/>
<%namespace name="convolution" file="convolution.mako"/>
<%namespace name="storages" file="storage.mako"/>
<%
    T, I = vector_type("float", vector_width), vector_type("int", vector_width)
    row_step = 2 if pooled else 1
    rows, slots = range(tile_m), range(vectors)
    is_packed = mapping == "packed"
    parts = range(vectors if is_packed else vectors * row_step)
    store_width = vector_width // row_step
    S = vector_type("float", store_width)
    P = vector_type("float", vector_width // row_step**2)  # mapping "packed": what is stored of a vector
    # 4-bit weights have no addresses of their own: an index moves in place of the pointer.
    moving = "at" if storage == "codebook4" else "w"
    first_value = f"descriptor[2] + starts[0] * {tile_m}" if chunk else "descriptor[2]"

    def weight(index):
        """A weight of the row block, `index` values behind what moves, as an expression."""
        return storages.weight("w", f"at + {index}" if storage == "codebook4" else index)

    if chunk:
        sums = tile_m * len(parts) * vector_width
        next_slots = (0,) if mapping == "flat" else slots  # those of a flat run lie behind each other
        span = vector_width * vectors // len(next_slots) * stride_x - stride_x + extent_x
        next_lines = [*range(0, span - 8, 16), span - 1]  # of 16 values; a gap of a few more is seldom a line

    # One element of every cache line of 16 values that a column's vectors may touch.
    if is_packed:
        span = row_distances[-1][0] + out_width  # from a slot's first input to behind its last
        is_permuted = len(row_distances) > 2 and span <= 2 * vector_width
        touched = [f"in{v} + {distance}" for v in parts for distance in [*range(0, span - 1, 16), span - 1]]
    elif mapping == "flat":
        touched = [f"in{v}" for v in parts] + [f"in{vectors - 1} + {vector_width - 1}"]
    else:
        ends = [f"in{v} + {stride_x * (vector_width - 1)}" for v in parts[-row_step:]]
        touched = [f"in{v}" for v in parts] + ends
%>
${common.multiply_add_macro()}
% if prefetch:
${common.prefetch_macros()}
% endif
${common.activation_function(activation, vector_width)}
${common.sum_functions()}
% if store_width <= 4 and not is_packed:
${common.partial_store_function(store_width)}
% endif
% if is_packed:
% if pooled:
<%
    upper, lower = ("".join(f"{lane:x}" for lane in range(vector_width) if lane // out_width % 2 == side) for side in (0, 1))
    H = vector_type("float", vector_width // 2)
%>
inline ${P} pool_rows(const ${T} v)
{
    const ${H} upper = v.s${upper}, lower = v.s${lower};
    const ${H} larger = upper > lower ? upper : lower;
    return larger.even > larger.odd ? larger.even : larger.odd;
}
% endif
% if is_permuted:
<% places = [distance + lane for distance, _ in row_distances for lane in range(out_width)] %>
inline ${T} pack(const ${T} a, const ${T} b)
{
    return (${T})(${", ".join(f"a.s{place:x}" if place < vector_width else f"b.s{place - span + vector_width:x}" for place in places)});
}
% endif
## Elsewhere lane by lane: parts of vectors put together become shuffles with undefined lanes; see winograd.mako.
#ifdef HAS_CPU_PREFETCH
% if is_permuted:
#define LOAD_ROWS(p) pack(${vector_load(vector_width, "p")}, ${vector_load(vector_width, f"(p) + {span - vector_width}")})
% else:
#define LOAD_ROWS(p) ((${T})(${", ".join(vector_load(out_width, f"(p) + {distance}") for distance, _ in row_distances)}))
% endif
#else
#define LOAD_ROWS(p) ((${T})(${", ".join(f"(p)[{distance + lane}]" for distance, _ in row_distances for lane in range(out_width))}))
#endif
% elif pooled:
${convolution.pool_function()}
% endif
<%def name="columns(count, weight, offset)">
% for u in range(count):
    {
        __global const float *p = x + ${offset(u)};
% if prefetch and not chunk:
        { __global const float *ahead = x + list[k + ${u + prefetch}];
% for distance in touched:
        PREFETCH(ahead + ${distance});
% endfor
        }
% endif
% for v in parts:
        const ${T} b${v} = ${f"LOAD_ROWS(p + in{v})" if is_packed else convolution.load_positions(f"p + in{v}")};
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
## Mapping "packed": for slot j is_slot<j>, where it is read (in<j>) and where it is written (out<j>).
<%def name="packed_positions()">
% for j in slots:
    const bool is_slot${j} = first_slot + ${j * group_n} < slot_count;
    const int row${j} = min(first_slot + ${j * group_n}, slot_count - 1) * ${len(row_distances)};
    const int image${j} = row${j} / rows_per_image;
    const int image_row${j} = row${j} - image${j} * rows_per_image;
    const int in${j} = x_origin + image${j} * x_image_stride + image_row${j} * x_pitch;
    const int out${j} = y_origin + image${j} * y_image_stride + image_row${j} / ${row_step} * y_pitch;
% if prefetch:
<% last = row_distances[-1][1] + out_width // row_step - 1 %>
% for i in rows:
% for distance in [*range(0, last, 16), last]:
    PREFETCH_FOR_WRITING(y + (size_t)(descriptor[3] + ${i}) * y_channel_stride + out${j} + ${distance});
% endfor
% endfor
% endif
% endfor
</%def>
<%def name="packed_store()">
    if (!is_block) return;
    const int block_rows = descriptor[4];
    __global float *out = y + (size_t)descriptor[3] * y_channel_stride;
<% width = out_width // row_step %>
% for j in slots:
    if (is_slot${j}) {
% for i in rows:
        if (${i} < block_rows) {
            const ${P} r = ${"pool_rows" if pooled else ""}(activate(c${i}_${j}));
            __global float *o = out + (size_t)${i} * y_channel_stride + out${j};
% for number, (_, distance) in enumerate(row_distances[::row_step]):
<% lanes = [f"{lane:x}" for lane in range(number * width, (number + 1) * width)] %>
#ifdef HAS_CPU_PREFETCH
            ${vector_store(width, common.summed(width, "r.s" + "".join(lanes), f"o + {distance}"), f"o + {distance}")}
#else
            ${" ".join(f"o[{distance + place}] = {common.summed(1, f'r.s{lane}', f'o + {distance + place}')};" for place, lane in enumerate(lanes))}
#endif
% endfor
        }
% endfor
    }
% endfor
</%def>
## chunk: the loops over chunks of K, over turns, and over the row blocks of a band, which all multiply the same inputs.
<%def name="chunks()">
    __local float kept_sums[${turns * sweep * sums}] __attribute__((aligned(64)));
    const int bands = (block_count + ${sweep - 1}) / ${sweep}, n_group = get_group_id(0) / bands;
    const int first_block = (get_group_id(0) - n_group * bands) * ${sweep}, last_block = min(first_block + ${sweep}, block_count);
    const int first_of_turns = n_group * ${turns * vectors};
    const bool is_block = true;
    __global const float *const x_start = x;
    for (int part = 0; part < chunk_count; part++)
    for (int turn = 0; turn < ${turns} && first_of_turns + turn * ${vectors} < slot_count; turn++) {
    __global const float *x = x_start;
    const int first_slot = first_of_turns + turn * ${vectors};
    ${convolution.positions()}
% if prefetch:
    ${next_inputs()}
% endif
    for (int block = first_block; block < last_block; block++) {
    __global const int *descriptor = blocks + block * 6;
    __global const int *starts = chunk_starts + block * (chunk_count + 1) + part;
    __global const int *list = offsets + descriptor[0] + starts[0];
    const int kept = starts[1] - starts[0];
% if prefetch:
    for (const int last = (block - first_block + 1) * next_channels / (last_block - first_block); next_channel < last; next_channel++) {
% for j in next_slots:
        { __global const float *ahead = next${j} + (size_t)next_channel * x_channel_stride;
% for y in range(extent_y + (row_step - 1) * stride_y):
% for distance in next_lines:
        PREFETCH(ahead + ${y} * x_pitch + ${distance});
% endfor
% endfor
        }
% endfor
    }
    if (part + 1 == chunk_count) {
        ${convolution.prefetch_output()}
    }
% endif
    __local float *kept_sum = kept_sums + (turn * ${sweep} + block - first_block) * ${sums};
</%def>
## Where the inputs begin that are multiplied after these: next<j>, `next_channels` channels of them.
<%def name="next_inputs()">
    const bool is_last_turn = turn + 1 == ${turns} || first_slot + ${vectors} >= slot_count;
    const bool is_last = is_last_turn && part + 1 == chunk_count;
    const int next_part = is_last ? 0 : part + is_last_turn;
    const int next_slot = is_last_turn ? first_of_turns + (is_last && last_block == block_count ? ${turns * vectors} : 0) : first_slot + ${vectors};
    const int next_channels = min(${chunk_channels}, channel_count - next_part * ${chunk_channels});
    __global const float *const next_start = x_start + x_origin - ${top} * x_pitch - ${left} + (size_t)next_part * ${chunk_channels} * x_channel_stride;
% for j in next_slots:
% if mapping == "flat":
    __global const float *const next${j} = next_start + next_slot * ${vector_width};
% else:
    const int next_row${j} = (next_slot + ${j}) / slots_per_row, next_image${j} = next_row${j} / rows_per_image;
    __global const float *const next${j} = next_start + next_image${j} * x_image_stride + (next_row${j} - next_image${j} * rows_per_image) * ${row_step * stride_y} * x_pitch
        + (next_slot + ${j} - next_row${j} * slots_per_row) * ${vector_width * stride_x};
% endif
% endfor
    int next_channel = 0;
</%def>
__kernel ${work_group_attributes(group_n, group_m, 1)}
void conv(__global const float *restrict x,
% if added:
          __global const float *restrict other,
          const int other_shift,
% endif
          __global const ${storages.stored_type()} *restrict weights,
          ${storages.storage_parameters()},
          __global const int *restrict offsets,
          __global const int *restrict blocks,
% if chunk:
          __global const int *restrict chunk_starts,
          const int chunk_count,
          const int channel_count,
          const int x_channel_stride,
% endif
          __global const float *restrict bias,
          __global const char *restrict valid,
          __global float *restrict y,
          const int block_count,
          ${convolution.position_parameters()})
{
% if added:
    __global float *const y_start = y;
    other += other_shift;
% endif
% if chunk:
    ${chunks()}
% else:
    ${convolution.work_group()}
% endif
% if turns > 1 and not chunk:
    __global const float *const x_start = x;
    const int first_of_turns = first_slot * ${turns};
    for (int turn = 0; turn < ${turns} && first_of_turns + turn * ${vectors} < slot_count; turn++) {
    __global const float *x = x_start;
    const int first_slot = first_of_turns + turn * ${vectors};
% endif
% if storage == "codebook4":
    __global const uchar *w = weights;
    int at = ${first_value};
% else:
    __global const ${storages.stored_type()} *w = weights + ${first_value};
% endif
% if is_packed:
    ${packed_positions()}
% elif not chunk:
    ${convolution.positions()}
    ${convolution.prefetch_output()}
% endif
% for i in rows:
    const float bias${i} = bias[block * ${tile_m} + ${i}];
% for v in parts:
    ${T} c${i}_${v} = (${T})(${c_float(0) if storage == "int8" else f"bias{i}"});
% endfor
% endfor
% if chunk:
    if (part > 0) {
% for i in rows:
% for v in parts:
        c${i}_${v} = ${vector_load(vector_width, f"kept_sum + {(i * len(parts) + v) * vector_width}")};
% endfor
% endfor
    }
% endif
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
% if chunk:
    if (part + 1 < chunk_count) {
% for i in rows:
% for v in parts:
        ${vector_store(vector_width, f"c{i}_{v}", f"kept_sum + {(i * len(parts) + v) * vector_width}")}
% endfor
% endfor
        continue;
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
% if is_packed:
    ${packed_store()}
% else:
    ${convolution.store()}
% endif
% if chunk:
    }
    }
% elif turns > 1:
    }
% endif
}
