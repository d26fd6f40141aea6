## Direct sparse convolution for GPUs: single weights removed, inputs shared by way of local memory; bias, activation and,
## where `pooled`, the 2x2 max pooling that follows are fused.
##
##   y[m, p] = activate(bias[m] + sum over entries e of row m of value[e] * x[in(p) + offset[e]])
##   pooled:  y[m, q] = max of these over the four positions p of output q
##
## m: output channel; p: output position; an entry is a weight that is not zero. What sparse_conv.cl.mako multiplies comes
## from a cache at best, once per entry. Here a work-group copies the input of one tile of positions for tile_k channels at a
## time into local memory and multiplies it by the entries of all its rows before it goes on to the next channels; sums stay
## in registers. Work-items of a work-group that lie side by side (group_n) have positions side by side, those behind each
## other (group_m) a block of block_rows rows each: the entries of a block are the same for a whole warp.
##
## The positions of a tile are `pieces` of tile_rows rows x tile_columns columns, of one image or of several. A work-item has
## all rows of one column of a piece, or of two that lie half a piece apart, so that its neighbours have the next column. The last piece of an image, and the last tile of a row, is moved back to end with it: what two of them share
## is computed, and written, twice alike. In local memory pieces lie so far apart that lanes of different ones meet in no bank.
##
## Layout   x, y: see clprune/layout.py (CNHW planes, shared zero padding)
##          channels[row]: output channels in the order of blocks; blocks[block_count + 1]: where each begins among them. Rows
##          are dealt out to blocks by their length, so that blocks, which run together, have about equally many entries
##          lists, ends: where entries of (block, tile_k input channels, row of the block) begin and end, in this order. They
##          begin at multiples of k_unroll: one stream of vectors for a block, the next of which is always on its way
##          offsets[entry]: of (channel of the tile_k, filter row, filter column) in a piece of the local input
##          values[entry]; bias[output channel]; scales[output channel], codebook: see storage.mako
##
## block_rows    output channels of a work-item at most
## tile_columns  columns of a piece;  tile_rows: its rows;  columns: of its columns those of a work-item, 1 or 2
## group_m, group_n  work-items of a work-group along row blocks and along positions
## tile_k        input channels that are in local memory together
## k_unroll      entries per turn of the inner loop, whose offsets and values are loaded as vectors, of one list alone
## size          of the filter;  padding: zeros around the input
##
## Source: Sputnik (arXiv:2006.10901): rows ordered by their length, vector loads of entries whose lists begin where vectors
## do, inputs in local memory; compressed rows over the padded input are Escort's (arXiv:1802.10280).
<%namespace name="common" file="common.mako"/>
<%namespace name="storages" file="storage.mako"/>
<%
    abreast = tile_columns // columns  # work-items of a piece
    pieces, lines, piece_width = group_n // abreast, tile_rows + size - 1, tile_columns + size - 1
    items = group_m * group_n
    plane = lines * piece_width  # of a channel of a piece
    # The next piece begins as many banks further on as the one before has work-items.
    piece_distance = tile_k * plane
    if pieces > 1:
        piece_distance += (abreast - piece_distance) % 32
    staged = pieces * plane
    rounds, channel_step = -(-staged // items), max(1, items // staged)
    rows, results = range(block_rows), [(r, v) for r in range(tile_rows) for v in range(columns)]
    exchanged = items * len(results) // 2 if pooled and abreast > 1 else 0
    V, O = vector_type("float", k_unroll), vector_type("ushort", k_unroll)

    # Sums are pairs, which packed multiply-adds (AMD's) take as they are; LLVM would make its own, with copies. One is left.
    pairs = [results[first : first + 2] for first in range(0, len(results), 2)]

    def result(i, number):
        """The sum of row i that is number `number` of the results."""
        return f"c{i}_{number // 2}" + (f".s{number % 2}" if len(pairs[number // 2]) == 2 else "")

    def entry(name, number):
        """One of the k_unroll entries of a turn."""
        return f"{name}.s{number}" if k_unroll > 1 else name
%>
${common.multiply_add_macro()}
${common.activation_function(activation, 1)}
% if k_unroll > 1:
${storages.look_up_function(k_unroll, items == 1)}
% endif
## Brings the k_unroll entries from `e` on, which is where vectors of them lie.
<%def name="fetch()">
                next_places = *(__global const ${O} *)(offsets + e);
                next_factors = \
% if k_unroll == 1:
${storages.weight("values", "e")};
% elif storage == "float32":
*(__global const ${V} *)(values + e);
% elif storage == "float16":
vloada_half${k_unroll}(0, values + e);
% elif storage == "int8":
convert_${V}(*(__global const ${vector_type("char", k_unroll)} *)(values + e));
% elif storage == "codebook8":
look_up(*(__global const ${vector_type("uchar", k_unroll)} *)(values + e), table);
% else:
look_up(unpack(values + (e >> 1)), table);
% endif
</%def>
## Makes the entries that were brought those of this turn, and brings the next ones.
<%def name="turn()">
                const ${O} places = next_places;
                const ${V} factors = next_factors;
                e += ${k_unroll};
                ${fetch()}
</%def>
## Products of entry `number` of a turn for row i.
<%def name="multiply(i, number)">
                { __local const float *p = inputs + ${entry("places", number)}; const float a = ${entry("factors", number)};
% for n, pair in enumerate(pairs):
<% T = vector_type("float", len(pair)) %>
                c${i}_${n} = MULTIPLY_ADD((${T})(a), (${T})(${", ".join(f"p[{r * piece_width + v * abreast}]" for r, v in pair)}), c${i}_${n});
% endfor
                }
</%def>
## Where the top left input of a piece is, in x; `number`: of the piece in the tile.
inline int piece_place(const int number, const int first_piece, const int column, const int last_piece, const int pieces_per_image,
                       const int last_row, const int image_stride, const int pitch)
{
    const int piece = min(first_piece + number, last_piece), image = piece / pieces_per_image;
    const int row = min((piece - image * pieces_per_image) * ${tile_rows}, last_row);
    return image * image_stride + row * pitch + column;
}
__kernel ${work_group_attributes(group_n, group_m, 1)}
void sparse_conv_tiled(__global const float *restrict x,
          __global const ${storages.stored_type()} *restrict values,
          ${storages.storage_parameters()},
          __global const ushort *restrict offsets,
          __global const int *restrict lists,
          __global const int *restrict ends,
          __global const int *restrict channels,
          __global const int *restrict blocks,
          __global const float *restrict bias,
          __global float *restrict y,
          const int block_count,
          const int in_channels,
          const int tiles_per_row,
          const int pieces_per_image,
          const int last_piece,
          const int last_row,
          const int last_column,
          const int x_origin,
          const int x_pitch,
          const int x_image_stride,
          const int x_channel_stride,
          const int y_origin,
          const int y_pitch,
          const int y_image_stride,
          const int y_channel_stride)
{
    __local float staged[${max(pieces * piece_distance, exchanged)}];
    const int local_n = ${"get_local_id(0)" if group_n > 1 else "0"};
## AMD's warps of 64 work-items have one row block each, whose entries are scalars to them.
% if group_m > 1 and group_n % 64 == 0:
#ifdef __AMDGCN__
    const int local_m = __builtin_amdgcn_readfirstlane(get_local_id(1));
#else
    const int local_m = get_local_id(1);
#endif
% else:
    const int local_m = ${"get_local_id(1)" if group_m > 1 else "0"};
% endif
    const int item = local_m * ${group_n} + local_n;
    const int m_groups = (block_count + ${group_m - 1}) / ${group_m}, group = get_group_id(0);
    const int position_tile = group / m_groups, m_group = group - position_tile * m_groups;
    const int tile_row = position_tile / tiles_per_row;
    const int first_piece = tile_row * ${pieces}, column = min((position_tile - tile_row * tiles_per_row) * ${tile_columns}, last_column);
    const int wanted_block = m_group * ${group_m} + local_m, block = min(wanted_block, block_count - 1);
    const int first_channel = blocks[block], block_channels = blocks[block + 1] - first_channel;
    const int rows = wanted_block < block_count ? block_channels : 0;
    const int piece = local_n / ${abreast}, in_piece = local_n - piece * ${abreast};
% if k_unroll > 1:
    ${storages.table_setup("item", items, k_unroll)}
% endif
    ## What this work-item stages of every channel, or of every few.
% if channel_step > 1:
    const int staged_channel = item / ${staged}, staged_item = item - staged_channel * ${staged};
% else:
    const int staged_channel = 0, staged_item = item;
% endif
% for j in range(rounds):
    const int place${j} = staged_item + ${j * items}, piece${j} = place${j} / ${plane}, in_piece${j} = place${j} - piece${j} * ${plane};
    const int line${j} = in_piece${j} / ${piece_width}, to${j} = piece${j} * ${piece_distance} + in_piece${j};
    const int from${j} = x_origin + (line${j} - ${padding}) * x_pitch + in_piece${j} - line${j} * ${piece_width} - ${padding}
        + piece_place(piece${j}, first_piece, column, last_piece, pieces_per_image, last_row, x_image_stride, x_pitch);
% endfor
    __local const float *inputs = staged + piece * ${piece_distance} + in_piece;
% for i in rows:
    const int channel${i} = channels[first_channel + min(${i}, block_channels - 1)];
% for n, pair in enumerate(pairs):
    ${vector_type("float", len(pair))} c${i}_${n} = (${vector_type("float", len(pair))})(${c_float(0) if storage == "int8" else f"bias[channel{i}]"});
% endfor
% endfor
    const int chunks = (in_channels + ${tile_k - 1}) / ${tile_k};
    int list = first_channel * chunks, e = lists[list], next_end = ends[list];
    ${O} next_places;
    ${V} next_factors;
    ${fetch()}
    for (int chunk = 0; chunk < chunks; chunk++) {
        const int copied = min(in_channels - chunk * ${tile_k}, ${tile_k});
        __global const float *plane = x + (size_t)(chunk * ${tile_k} + staged_channel) * x_channel_stride;
% if channel_step > 1:
        if (staged_channel < ${channel_step})
% endif
#pragma unroll 4
        for (int k = staged_channel; k < copied; k += ${channel_step}) {
% for j in range(rounds):
            ${f"if (place{j} < {staged}) " if (j + 1) * items > staged and channel_step == 1 else ""}staged[to${j} + k * ${plane}] = plane[from${j}];
% endfor
            plane += (size_t)${channel_step} * x_channel_stride;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
% for i in rows:
        if (${i} < rows) {
            const int end = next_end;
            next_end = ends[++list];
            while (e + ${k_unroll} <= end) {
                ${turn()}
% for u in range(k_unroll):
                ${multiply(i, u)}
% endfor
            }
% if k_unroll > 1:
            if (e < end) {
                const int left = end - e;
                ${turn()}
                ${multiply(i, 0)}
% for u in range(1, k_unroll - 1):
                if (left > ${u}) ${multiply(i, u)}
% endfor
            }
% endif
        }
% endfor
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    const bool is_piece = first_piece + piece <= last_piece;
<% step = 2 if pooled else 1 %>
% if pooled:
    const int out_place = y_origin + piece_place(piece, first_piece, column, last_piece, pieces_per_image, last_row, 2 * y_image_stride, y_pitch) / 2 + in_piece / 2;
% else:
    const int out_place = y_origin + piece_place(piece, first_piece, column, last_piece, pieces_per_image, last_row, y_image_stride, y_pitch) + in_piece;
% endif
% for i in rows:
    {
        __global float *out = y + (size_t)channel${i} * y_channel_stride + out_place;
% if storage == "int8":
        const float scale = scales[channel${i}], shift = bias[channel${i}];
% for number in range(len(results)):
        ${result(i, number)} = MULTIPLY_ADD(${result(i, number)}, scale, shift);
% endfor
% endif
% for number, (r, v) in enumerate(results):
        const float r${r}_${v} = activate(${result(i, number)});
% endfor
% if not pooled:
        if (${i} < rows && is_piece) {
% for r, v in results:
            out[${r} * y_pitch + ${v * abreast}] = r${r}_${v};
% endfor
        }
% else:
% for r, v in results[:len(results) // 2]:
        const float pair${r}_${v} = r${2 * r}_${v} > r${2 * r + 1}_${v} ? r${2 * r}_${v} : r${2 * r + 1}_${v};
% endfor
% if abreast == 1:
        if (${i} < rows && is_piece) {
% for r in range(tile_rows // 2):
            out[${r} * y_pitch] = pair${r}_0 > pair${r}_1 ? pair${r}_0 : pair${r}_1;
% endfor
        }
% else:
        ## Neighbouring columns are those of neighbouring work-items.
% for number, (r, v) in enumerate(results[:len(results) // 2]):
        staged[item + ${number * items}] = pair${r}_${v};
% endfor
        barrier(CLK_LOCAL_MEM_FENCE);
        if (${i} < rows && is_piece && in_piece % 2 == 0) {
% for number, (r, v) in enumerate(results[:len(results) // 2]):
            { const float next = staged[item + ${number * items + 1}]; out[${r} * y_pitch + ${v * abreast // 2}] = pair${r}_${v} > next ? pair${r}_${v} : next; }
% endfor
        }
        barrier(CLK_LOCAL_MEM_FENCE);
% endif
% endif
    }
% endfor
}
