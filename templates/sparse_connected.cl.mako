## Fully connected layer with single weights removed; bias and activation fused.
##
##   y[n, m] = activate(bias[m] + sum over entries e of row m of value[e] * x[n, offset[e]])
##
## Rows of like length form blocks of tile_m = group_m * vectors * vector_width rows; each lane follows one of them, so
## that values and offsets are read side by side, once, in few bits, and only x is gathered: from memory, or, which CPUs
## do several times faster, from a window of inputs that a step loads into registers, in which its entries lie.
##
## Layout   x: image n begins at x_origin + n * x_image_stride; y[n, m] at y_origin + n * y_image_stride + m * y_channel_stride
##          blocks[row block][2]: first step, steps;  values, offsets[step][tile_m]
##          rows[row block][tile_m]: the output of a lane, -1 for none;  bias, scales likewise
##          starts[row block][tile_m]: what the distances of a lane add up to (offset_bits 8)
##          with windows starts[step][vectors]: where the window of a step begins;  offsets: places in it
##
## vector_width  rows per vector;  vectors: vectors per work-item
## group_m       work-items of a work-group side by side along rows
## group_k       work-items of a work-group that share a block's steps; their sums meet in local memory
## tile_n        images per work-item: each value and offset is read once for all of them
## k_unroll      steps per turn of the inner loop
## offset_bits   of an entry: 8 (distance from the one before), 16 or 32
## window        vectors of inputs that the entries of a vector of rows lie in, step by step; 0: they lie anywhere
## prefetch      steps from an entry's use back to when its cache line is asked for; 0: never
## storage       of the values, see storage.mako
##
## Source: sliced ELLPACK, sorted (SELL-C-sigma, arXiv:1307.6209); short distances and windows are ours.
<%namespace name="common" file="common.mako"/>
<%namespace name="shared" file="connected.mako"/>
<%namespace name="storages" file="storage.mako"/>
<%
    T, I = vector_type("float", vector_width), vector_type("int", vector_width)
    tile_m = group_m * vectors * vector_width
    slots, images = range(vectors), range(tile_n)
    offset_type = {8: "uchar", 16: "ushort", 32: "int"}[offset_bits]
    work_group_size = group_m * group_k

    def lanes(expression):
        """The vector of `expression` for each lane, in which {} stands for the lane's part of a vector."""
        parts = [""] if vector_width == 1 else [".s" + "0123456789abcdef"[lane] for lane in range(vector_width)]
        return f"({T})({', '.join(expression.replace('{}', part) for part in parts)})"

    is_permuted = storage == "codebook4" and vector_width == 16 and work_group_size == 1
    entry_bytes = {"float32": 4, "float16": 2, "codebook4": 0.5}.get(storage, 1)
    def cache_lines(steps, bytes_per_entry):
        return range(0, int(steps * tile_m * bytes_per_entry), 64)
%>
${common.multiply_add_macro()}
% if prefetch:
${common.prefetch_macros()}
% endif
${common.activation_function(activation, vector_width)}
${storages.look_up_function(vector_width, work_group_size == 1)}
% if window or is_permuted:
## Lanes of a vector by their numbers, in one instruction: see quirks.takes_vector_subscripts.
#ifdef HAS_VECTOR_SUBSCRIPTS
#define PERMUTE(v, i) ${lanes("(v)[(i){}]")}
#else
#define PERMUTE(v, i) shuffle(v, as_${vector_type("uint", vector_width)}(i))
#endif
% endif
% if window:
inline ${T} in_window(__global const float *p, const ${I} places)
{
    const ${I} lane = places & ${vector_width - 1};
    const ${T} first = ${vector_load(vector_width, "p")};
    ${T} found = PERMUTE(first, lane);
% for part in range(1, window):
    {
        const ${T} inputs = ${vector_load(vector_width, f"p + {part * vector_width}")};
        found = select(found, PERMUTE(inputs, lane), places > ${part * vector_width - 1});
    }
% endfor
    return found;
}
% endif
<%def name="values_at(index)" buffered="True" filter="trim">
% if is_permuted:
PERMUTE(table, as_${I}(unpack(values + ((${index}) >> 1))))
% else:
${storages.weights_at("values", index, vector_width)}
% endif
</%def>
<%def name="steps(count)">
% if prefetch:
    {
        const size_t later = first + (size_t)(k + ${prefetch}) * ${tile_m};
% for byte in cache_lines(count, entry_bytes):
        PREFETCH((__global const char *)values + ${"(later >> 1)" if storage == "codebook4" else f"later * {entry_bytes}"} + ${byte});
% endfor
% for byte in cache_lines(count, offset_bits // 8):
        PREFETCH((__global const char *)offsets + later * ${offset_bits // 8} + ${byte});
% endfor
    }
% endif
% for u in range(count):
    {
        const size_t a = first + (size_t)(k + ${u * group_k}) * ${tile_m};
% for j in slots:
        const ${T} a${j} = ${values_at(f"a + {j * group_m * vector_width}")};
% if window:
        const ${I} o${j} = convert_${I}(${vector_load(vector_width, f"offsets + a + {j * vector_width}")});
        const int w${j} = starts[(first_step + k + ${u}) * ${vectors} + ${j}];
% elif offset_bits == 8:
        o${j} += convert_${I}(${vector_load(vector_width, f"offsets + a + {j * group_m * vector_width}")});
% else:
        const ${I} o${j} = convert_${I}(${vector_load(vector_width, f"offsets + a + {j * group_m * vector_width}")});
% endif
% for n in images:
        c${n}_${j} = MULTIPLY_ADD(a${j}, ${f"in_window(x{n} + w{j}, o{j})" if window else lanes(f"x{n}[o{j}{{}}]")}, c${n}_${j});
% endfor
% endfor
    }
% endfor
</%def>
__kernel ${work_group_attributes(group_m, group_k, 1)}
void sparse_connected(__global const float *restrict x,
               __global const ${storages.stored_type()} *restrict values,
               ${storages.storage_parameters()},
               __global const ${offset_type} *restrict offsets,
               __global const int *restrict blocks,
               __global const int *restrict rows,
               __global const int *restrict starts,
               __global const float *restrict bias,
               __global float *restrict y,
               const int batch,
               const int x_origin,
               const int x_image_stride,
               const int y_origin,
               const int y_image_stride,
               const int y_channel_stride)
{
    const int block = get_group_id(0);
    const int local_m = get_local_id(0), local_k = get_local_id(1);
    const int image = get_group_id(1) * ${tile_n};
    const int count = blocks[block * 2 + 1], lane = block * ${tile_m} + local_m * ${vector_width};
    const size_t first_step = blocks[block * 2];
    const size_t first = first_step * ${tile_m} + local_m * ${vector_width};
    ${storages.table_setup(f"local_k * {group_m} + local_m", work_group_size, vector_width)}
% for n in images:
    __global const float *x${n} = x + x_origin + (size_t)min(image + ${n}, batch - 1) * x_image_stride;
% for j in slots:
    ${T} c${n}_${j} = (${T})(${c_float(0)});
% endfor
% endfor
% if offset_bits == 8 and not window:
% for j in slots:
    ${I} o${j} = ${vector_load(vector_width, f"starts + lane + {j * group_m * vector_width}")};
% endfor
% endif
    ${shared.loop(steps, "count")}
    ${shared.add_partial_sums("c", T)}
% for j in slots:
    {
        const ${I} row = ${vector_load(vector_width, f"rows + lane + {j * group_m * vector_width}")};
        const ${T} b = ${vector_load(vector_width, f"bias + lane + {j * group_m * vector_width}")};
% if storage == "int8":
        const ${T} scale = ${vector_load(vector_width, f"scales + lane + {j * group_m * vector_width}")};
% endif
% for n in images:
        if (image + ${n} < batch) {
            const ${T} v = activate(${f"MULTIPLY_ADD(c{n}_{j}, scale, b)" if storage == "int8" else f"c{n}_{j} + b"});
            __global float *out = y + y_origin + (size_t)(image + ${n}) * y_image_stride;
% for part in ([""] if vector_width == 1 else [".s" + "0123456789abcdef"[lane] for lane in range(vector_width)]):
            if (row${part} >= 0) out[(size_t)row${part} * y_channel_stride] = v${part};
% endfor
        }
% endfor
    }
% endfor
}
