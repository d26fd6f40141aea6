## Direct convolution whose vectors are output channels; dense or with columns removed; bias, activation and, where
## `pooled`, the 2x2 max pooling that follows are fused. For small images: a vector of positions would lie half outside.
##
##   y[m, p] = activate(bias[m] + sum_k W[m, k] * x[in(p) + offset[k]])
##   pooled:  y[m, q] = max of these over the four positions p of output q
##   added:   y[m, p] = activate_sum(that + other[m, p]), a shortcut
##
## A work-item computes `vectors` vectors of `vector_width` output channels at tile_rows x tile_columns output positions:
## per column of W it loads its vectors of weights, and multiplies them by each position's input, a broadcast scalar.
## The last tile of a row of the image, and of a column, is moved back to end with it: there is no partial tile, and
## what two tiles share is computed, and written, twice alike.
##
## Layout   x, y, blocks, offsets, weights, bias, scales: as in conv.cl.mako, with
##          tile_m = group_m * vectors * vector_width rows per row block; work-item i of group_m has those from
##          (v * group_m + i) * vector_width on for each vector v, so that neighbours load neighbouring weights
##
## vector_width  output channels per vector;  vectors: vectors per work-item
## tile_rows, tile_columns  output positions per work-item, before pooling
## group_m, group_n  work-items of a work-group along the channels of one row block and along tiles of positions
## k_unroll      columns per turn of the inner loop
## prefetch      columns by which the inner loop runs ahead to bring input and weights into cache (0: not at all); also
##               brings the output's lines before they are written. A network leaves neither weights nor output in cache
## sweep         0: work-groups go through all row blocks before the next positions; 1: through all positions of one row
##               block first, so that its weights stay in cache
## storage       of the weights, see storage.mako
##
## Results leave as runs of positions: vectors of channels are transposed by rounds of interleaving, which rotate the bits
## of (position, channel), as in a perfect shuffle (Stone, 1971).
## Source: output channels along lanes as in oneDNN's nChw16c convolutions (arXiv:1808.05567), here over plain CNHW planes
## and lists of offsets; unit = tile_m x 1 as in BCBP (AAAI 2023). Overlapping tiles are our own choice.
<%namespace name="common" file="common.mako"/>
<%namespace name="storages" file="storage.mako"/>
<%
    T = vector_type("float", vector_width)
    half = vector_width // 2
    is_alone = group_m * group_n == 1
    slots = range(vectors)
    positions = [(row, column) for row in range(tile_rows) for column in range(tile_columns)]
    step = 2 if pooled else 1
    out_rows, out_columns = tile_rows // step, tile_columns // step
    results = [(row, column) for row in range(out_rows) for column in range(out_columns)]
    # 4-bit weights have no addresses of their own: an index moves in place of the pointer.
    is_indexed = storage == "codebook4"
    moving = "at" if is_indexed else "w"

    def weights(index):
        return storages.weights_at("w", f"(at + {index})" if is_indexed else str(index), vector_width)

    def first_row(v):
        """The row of the block that vector v begins with."""
        return f"{v * group_m * vector_width} + local_m * {vector_width}" if group_m > 1 else str(v * vector_width)

    def result(v, row, column):
        """What is stored for a position, as an expression."""
        if not pooled:
            return f"activate(c{v}_{row}_{column})"
        window = [f"activate(c{v}_{2 * row + i}_{2 * column + j})" for i in (0, 1) for j in (0, 1)]
        return f"larger(larger({window[0]}, {window[1]}), larger({window[2]}, {window[3]}))"

    def chunks():
        """Results that are transposed together: whole rows as far as they fit in a vector."""
        if out_columns <= vector_width:
            size = vector_width // out_columns * out_columns
            return [results[first : first + size] for first in range(0, len(results), size)]
        return [
            [(row, column) for column in range(first, min(first + vector_width, out_columns))]
            for row in range(out_rows)
            for first in range(0, out_columns, vector_width)
        ]

    def runs(chunk):
        """(row, first column, place in the chunk, length) of the results that lie side by side in the output."""
        for row in sorted({row for row, _ in chunk}):
            places = [place for place, (other, _) in enumerate(chunk) if other == row]
            yield row, chunk[places[0]][1], places[0], len(places)

    def pieces(length):
        """(offset, width) of one or two vectors that cover a run, overlapping where it is no sum of two."""
        width = 1 << length.bit_length() - 1
        rest = length - width
        if rest == 0:
            return [(0, width)]
        other = 1 << (rest - 1).bit_length()
        return [(0, width), (length - other, other)]
%>
${common.multiply_add_macro()}
% if prefetch:
${common.prefetch_macros()}
% endif
${common.activation_function(activation, vector_width)}
${common.sum_functions()}
${storages.look_up_function(vector_width, is_alone)}
% if pooled:
inline ${T} larger(const ${T} a, const ${T} b) { return a > b ? a : b; }
% endif
% if vector_width > 1:
## Lanes of the lower or upper halves of two vectors in turns.
% for name, first in (("MIX_LOW", 0), ("MIX_HIGH", half)):
#define ${name}(a, b) ((${T})(${", ".join(f"({vector}).s{lane:x}" for lane in range(first, first + half) for vector in "ab")}))
% endfor
% endif
<%def name="columns(count)">
% for u in range(count):
    {
        __global const float *p = x + list[k + ${u}];
% if prefetch:
        { __global const float *ahead = x + list[k + ${u + prefetch}];
% for row in range(tile_rows):
        PREFETCH(ahead + line${row});
% endfor
        }
% if not is_indexed:
% for v in slots:
        PREFETCH(w + ${(u + prefetch) * tile_m + v * vector_width});
% endfor
% endif
% endif
% for v in slots:
        const ${T} a${v} = ${weights(u * tile_m + v * group_m * vector_width)};
% endfor
% for row, column in positions:
        { const ${T} b = (${T})(p[line${row} + ${column * stride_x}]);
% for v in slots:
        c${v}_${row}_${column} = MULTIPLY_ADD(a${v}, b, c${v}_${row}_${column});
% endfor
        }
% endfor
    }
% endfor
</%def>
__kernel ${work_group_attributes(group_m, group_n, 1)}
void conv_channels(__global const float *restrict x,
% if added:
                   __global const float *restrict other,
                   const int other_shift,
% endif
                   __global const ${storages.stored_type()} *restrict weights,
                   ${storages.storage_parameters()},
                   __global const int *restrict offsets,
                   __global const int *restrict blocks,
                   __global const float *restrict bias,
                   __global float *restrict y,
                   const int block_count,
                   const int tile_count,
                   const int tiles_per_row,
                   const int tiles_per_column,
                   const int last_row,
                   const int last_column,
                   const int x_origin,
                   const int x_pitch,
                   const int x_image_stride,
                   const int y_origin,
                   const int y_pitch,
                   const int y_image_stride,
                   const int y_channel_stride)
{
% if added:
    __global float *const y_start = y;
    other += other_shift;
% endif
    const int local_m = ${"get_local_id(0)" if group_m > 1 else "0"}, local_n = ${"get_local_id(1)" if group_n > 1 else "0"};
    const int group = get_group_id(0);
% if sweep == 0:
    const int n_group = group / block_count, block = group - n_group * block_count;
% else:
    const int n_groups = get_num_groups(0) / block_count;
    const int block = group / n_groups, n_group = group - block * n_groups;
% endif
    const int wanted_tile = n_group * ${group_n} + local_n;
    const int tile = min(wanted_tile, tile_count - 1);
    const int tile_row = tile / tiles_per_row;
    const int image = tile_row / tiles_per_column;
    const int row = min((tile_row - image * tiles_per_column) * ${tile_rows}, last_row);
    const int column = min((tile - tile_row * tiles_per_row) * ${tile_columns}, last_column);
    __global const int *descriptor = blocks + block * 6;
    const int kept = descriptor[1];
    __global const int *list = offsets + descriptor[0];
    x += x_origin + image * x_image_stride + row * ${stride_y} * x_pitch + column * ${stride_x};
% for line in range(tile_rows):
    const int line${line} = ${line * stride_y} * x_pitch;
% endfor
    ${storages.table_setup(f"local_n * {group_m} + local_m", group_m * group_n, vector_width)}
% if is_indexed:
    __global const uchar *w = weights;
    int at = descriptor[2] + local_m * ${vector_width};
% else:
    __global const ${storages.stored_type()} *w = weights + descriptor[2] + local_m * ${vector_width};
% endif
% for v in slots:
    const ${T} bias${v} = ${vector_load(vector_width, f"bias + block * {tile_m} + {first_row(v)}")};
% for row, column in positions:
    ${T} c${v}_${row}_${column} = ${f"({T})({c_float(0)})" if storage == "int8" else f"bias{v}"};
% endfor
% endfor
    y += y_origin + image * y_image_stride + row / ${step} * y_pitch + column / ${step};
% if prefetch:
    for (int m = 0; m < ${tile_m}; m++) {
        __global const float *plane = y + (size_t)(descriptor[3] + m) * y_channel_stride;
% for line in range(out_rows):
        PREFETCH_FOR_WRITING(plane + ${line} * y_pitch);
% endfor
    }
% endif
    int k = 0;
% if k_unroll > 1:
    for (; k + ${k_unroll} <= kept; k += ${k_unroll}) {
        ${columns(k_unroll)}
        ${moving} += ${k_unroll * tile_m};
    }
% endif
    for (; k < kept; k++) {
        ${columns(1)}
        ${moving} += ${tile_m};
    }
% if storage == "int8":
% for v in slots:
    { const ${T} scale = ${vector_load(vector_width, f"scales + block * {tile_m} + {first_row(v)}")};
% for row, column in positions:
    c${v}_${row}_${column} = MULTIPLY_ADD(c${v}_${row}_${column}, scale, bias${v});
% endfor
    }
% endfor
% endif
% if group_n > 1:
    if (wanted_tile >= tile_count) return;
% endif
% for v in slots:
    { const int left = descriptor[4] - (${first_row(v)});
    __global float *out = y + (size_t)(descriptor[3] + ${first_row(v)}) * y_channel_stride;
% if vector_width == 1:
    if (left > 0) {
% for row, column in results:
        out[${row} * y_pitch + ${column}] = ${common.summed(1, result(v, row, column), f"out + {row} * y_pitch + {column}")};
% endfor
    }
% else:
% for row, column in results:
    const ${T} r${row}_${column} = ${result(v, row, column)};
% endfor
#ifdef HAS_CPU_PREFETCH  // a real CPU, whose compiler makes instructions of moves of lanes
% for number, chunk in enumerate(chunks()):
<%
    width = 1 << (len(chunk) - 1).bit_length()
    names = [f"r{row}_{column}" for row, column in chunk]
    names += names[-1:] * (width - len(names))
    lines = []
    for turn in range(width.bit_length() - 1):
        pairs = list(zip(names[: width // 2], names[width // 2 :]))
        names = []
        for a, b in pairs:
            for move in ("MIX_LOW", "MIX_HIGH"):
                names.append(f"t{number}_{turn}_{len(names)}")
                lines.append(f"const {T} {names[-1]} = {move}({a}, {b});")
    per_vector = vector_width // width

    def lanes(name, first, count):
        """`count` lanes of a vector from number `first` on."""
        return name if count == vector_width else f"{name}.s" + "".join(f"{first + i:x}" for i in range(count))
%>
% for line in lines:
    ${line}
% endfor
% for channel in range(vector_width):
    if (left > ${channel}) {
        __global float *o = out + (size_t)${channel} * y_channel_stride;
% for run_row, run_column, place, length in runs(chunk):
% for offset, size in pieces(length):
<%
    at = f"o + {run_row} * y_pitch + {run_column + offset}"
    value = lanes(names[channel // per_vector], channel % per_vector * width + place + offset, size)
%>
        ${vector_store(size, common.summed(size, value, at), at)}
% endfor
% endfor
    }
% endfor
% endfor
#else  // loops: what is stored element by element should not take long to compile
    float lanes[${len(results) * vector_width}];
% for number, (row, column) in enumerate(results):
    ${vector_store(vector_width, f"r{row}_{column}", f"lanes + {number * vector_width}")}
% endfor
    for (int m = 0; m < ${vector_width} && m < left; m++)
        for (int r = 0; r < ${out_rows}; r++)
            for (int c = 0; c < ${out_columns}; c++)
                out[(size_t)m * y_channel_stride + r * y_pitch + c] = ${common.summed(1, f"lanes[(r * {out_columns} + c) * {vector_width} + m]", "out + (size_t)m * y_channel_stride + r * y_pitch + c")};
#endif
% endif
    }
% endfor
}
