## Direct sparse convolution out of local memory: single weights removed; bias, activation and, where `pooled`, the 2x2
## max pooling that follows are fused.
##
##   y[m, p] = activate(bias[m] + sum over entries e of row m of value[e] * x[in(p) + offset[e]])
##   pooled:  y[m, q] = max of these over the four positions p of output q
##
## m: output channel; p: output position; an entry is a weight that is not zero. What sparse_conv.cl.mako multiplies it
## streams from main memory or the second cache, once per entry. Here a work-group copies the input of one tile of
## positions for tile_k channels at a time into local memory, multiplies it by the entries of all rows of its block, and
## only then goes on to the next channels; the sums of all rows wait in local memory meanwhile. The input is copied once
## per column of the filter, shifted by as much: every vector that is multiplied begins where a vector of memory does.
##
## A vector is made of `pieces` = vector_width / tile_columns rows of tile_columns neighbouring positions. A piece is a
## run of tile_rows rows of one image; vector r of a tile has row r of each of its pieces, so that the next row of all of
## them is the next vector. The last piece of an image, and the last tile of a row, is moved back to end with it: there
## is no partial tile, and what two tiles share is computed, and written, twice alike.
##
## Layout   x, y: see clprune/layout.py (CNHW planes, shared zero padding)
##          channels[row]: output channels in the order of blocks; blocks[block_count + 1]: where each begins among them
##          lists: where entries of (block, tile_k input channels, row of the block) begin, in this order, and their end
##          offsets[entry]: of (channel of the tile_k, filter column, filter row) among the vectors of the local input
##          values[entry]; bias[output channel]; scales[output channel], codebook: see storage.mako
##
## vector_width  positions per vector;  tile_columns: of a piece;  tile_rows: vectors of results per row of weights
## tile_k        input channels that are in local memory together
## block_rows    output channels of a block at most, whose sums are there
## k_unroll      entries per turn of the inner loop
## prefetch      1: while a chunk of channels is multiplied, bring the input of the next one into the second cache, and
##               before the last sums leave, the places of the output into the first; 0: do not
## size          of the filter;  padding: zeros around the input
##
## Source: Escort (arXiv:1802.10280) for compressed rows over the padded input; what waits in local memory is our choice.
<%namespace name="common" file="common.mako"/>
<%namespace name="convolution" file="convolution.mako"/>
<%namespace name="storages" file="storage.mako"/>
<%
    T = vector_type("float", vector_width)
    pieces, lines = vector_width // tile_columns, tile_rows + size - 1
    step = 2 if pooled else 1
    out_rows, out_columns, out_width = tile_rows // step, tile_columns // step, vector_width // step
    slots = range(tile_rows)
%>
${common.multiply_add_macro()}
% if prefetch:
${common.prefetch_macros()}
## The first cache is full of what is multiplied.
#ifdef HAS_CPU_PREFETCH
#define PREFETCH_INTO_SECOND(pointer) __builtin_prefetch((const void *)(size_t)(pointer), 0, 2)
#else
#define PREFETCH_INTO_SECOND(pointer)
#endif
% endif
${common.activation_function(activation, vector_width)}
% if pooled:
${convolution.pool_function()}
% endif
<%def name="entries(count)">
% for u in range(count):
            {
                const ${T} a = (${T})(${storages.weight("values", f"e + {u}")});
                __local const ${T} *p = tile + offsets[e + ${u}];
% for r in slots:
                c${r} = MULTIPLY_ADD(a, p[${r}], c${r});
% endfor
            }
% endfor
</%def>
## The entries of row i of the block among the channels that are in local memory.
<%def name="multiply()" filter="trim">
            __local ${T} *sum = sums + i * ${tile_rows};
% for r in slots:
            ${T} c${r} = sum[${r}];
% endfor
            int e = list[i];
            const int end = list[i + 1];
% if k_unroll > 1:
            for (; e + ${k_unroll} <= end; e += ${k_unroll}) {
${entries(k_unroll)}
            }
% endif
            for (; e < end; e++) {
${entries(1)}
            }
% for r in slots:
            sum[${r}] = c${r};
% endfor
</%def>
__kernel ${work_group_attributes(1, 1, 1)}
void sparse_conv_local(__global const float *restrict x,
          __global const ${storages.stored_type()} *restrict values,
          ${storages.storage_parameters()},
          __global const ushort *restrict offsets,
          __global const int *restrict lists,
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
    __local ${T} tile[${tile_k * size * lines}];
    __local ${T} sums[${block_rows * tile_rows}];
    const int group = get_group_id(0);
    const int position_tile = group / block_count, block = group - position_tile * block_count;
    const int first_piece = position_tile / tiles_per_row * ${pieces};
    const int column = min((position_tile - position_tile / tiles_per_row * tiles_per_row) * ${tile_columns}, last_column);
% for p in range(pieces):
    const int piece${p} = min(first_piece + ${p}, last_piece), image${p} = piece${p} / pieces_per_image;
    const int row${p} = min((piece${p} - image${p} * pieces_per_image) * ${tile_rows}, last_row);
    __global const float *x${p} = x + x_origin + image${p} * x_image_stride + (row${p} - ${padding}) * x_pitch + column - ${padding};
    __global float *y${p} = y + y_origin + image${p} * y_image_stride + row${p} / ${step} * y_pitch + column / ${step};
% endfor
    const int first_channel = blocks[block], rows = blocks[block + 1] - first_channel;
    const int chunks = (in_channels + ${tile_k - 1}) / ${tile_k};
    __global const int *list = lists + first_channel * chunks;
    for (int i = 0; i < rows; i++)
        for (int r = 0; r < ${tile_rows}; r++)
            sums[i * ${tile_rows} + r] = (${T})(${c_float(0) if storage == "int8" else "bias[channels[first_channel + i]]"});
    for (int chunk = 0; chunk < chunks; chunk++) {
        const int copied = min(in_channels - chunk * ${tile_k}, ${tile_k});
        for (int k = 0; k < copied; k++) {
            const size_t plane = (size_t)(chunk * ${tile_k} + k) * x_channel_stride;
            __local float *to = (__local float *)(tile + k * ${size * lines});
            for (int line = 0; line < ${lines}; line++) {
                const size_t from = plane + line * x_pitch;
% for s in range(size):
% for p in range(pieces):
                ${vector_store(tile_columns, vector_load(tile_columns, f"x{p} + from + {s}"), f"to + line * {vector_width} + {s * lines * vector_width + p * tile_columns}")}
% endfor
% endfor
            }
        }
% if prefetch:
        const int next = in_channels - (chunk + 1) * ${tile_k};
        int i = 0;
        for (int k = 0; k < ${tile_k}; k++) {
            if (k < next) {
                const size_t plane = (size_t)((chunk + 1) * ${tile_k} + k) * x_channel_stride;
                for (int line = 0; line < ${lines}; line++) {
                    const size_t from = plane + line * x_pitch;
% for p in range(pieces):
                    PREFETCH_INTO_SECOND(x${p} + from);
                    PREFETCH_INTO_SECOND(x${p} + from + ${tile_columns + size - 2});
% endfor
                }
            }
            const int until = rows * (k + 1) / ${tile_k};
            for (; i < until; i++) {
                if (next <= 0) {
                    const size_t plane = (size_t)channels[first_channel + i] * y_channel_stride;
                    for (int line = 0; line < ${out_rows}; line++) {
% for p in range(pieces):
                        PREFETCH_FOR_WRITING(y${p} + plane + line * y_pitch);
% endfor
                    }
                }
                ${multiply()}
            }
        }
% else:
        for (int i = 0; i < rows; i++) {
            ${multiply()}
        }
% endif
        list += rows;
    }
    for (int i = 0; i < rows; i++) {
        const int channel = channels[first_channel + i];
        const size_t plane = (size_t)channel * y_channel_stride;
        __local ${T} *sum = sums + i * ${tile_rows};
        __local const float *out = (__local const float *)sum;
% if storage == "int8":
        const ${T} scale = (${T})(scales[channel]), shift = (${T})(bias[channel]);
% for r in slots:
        const ${T} c${r} = activate(MULTIPLY_ADD(sum[${r}], scale, shift));
% endfor
% else:
% for r in slots:
        const ${T} c${r} = activate(sum[${r}]);
% endfor
% endif
% for r in range(out_rows):
        ${vector_store(out_width, f"pool(c{2 * r}, c{2 * r + 1})" if pooled else f"c{r}", f"(__local float *)sum + {r * out_width}")}
% endfor
% for r in range(out_rows):
% for p in range(pieces):
        ${vector_store(out_columns, vector_load(out_columns, f"out + {r * out_width + p * out_columns}"), f"y{p} + plane + {r} * y_pitch")}
% endfor
% endfor
    }
}
