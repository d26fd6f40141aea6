## Direct convolution by the matrix instructions of GPUs, dense or with columns removed; bias, activation and, where
## `pooled`, the 2x2 max pooling that follows are fused.
##
##   y[m, p] = activate(bias[m] + sum_k round(W[m, k]) * round(x[in(p) + offset[k]]))
##   pooled:  y[m, q] = max of these over the four positions p of output q
##   added:   y[m, p] = activate_sum(that + other[m, p]), a shortcut
##
## m: output channel; p: output position; k: column of W, as in conv.cl.mako. A warp gathers the inputs of a step of
## `columns` kept columns at its positions, each lane those of its own fragment, and multiplies them by the step's weights
## for each unit of 16 rows. `multiply_tile` is what differs from device to device: an instruction where
## HAS_MATRIX_<unit> is defined, elsewhere plain OpenCL C in which lanes exchange the same fragments through local memory.
##
## Layout   x, y: see clprune/layout.py (CNHW planes, shared zero padding)
##          blocks[row block][6]: start of its list, kept columns (filled up to whole steps), start of its values in words,
##          first row, rows, unused
##          offsets: lists of input offsets, whole steps; dense row blocks of a group share one list
##          weights[row block][step][unit of 16 rows][lane][words]: see clprune/packing/fragments.py; words are float32, or
##          two float16 each, of which the first is in the low bits
##          bias[row block][tile_m]
##          valid[p] (mapping "flat"): -1 where p is an output, 0 where it is padding, which is written as zero
##
## unit          whose fragments these are (clprune/device.py, MATRIX_UNITS), or "single": of a work-item on its own
## tile_m        output channels per warp and work-group, 16 of them per instruction
## tiles_n       instructions' positions per warp
## group_n       warps of a work-group, side by side along positions
## mapping       "flat": positions run through the padded rows (stride 1, input and output of one pitch);
##               "rows": positions are counted over outputs, pooling windows where `pooled`: the four positions of a
##               window belong to four instructions, so that one lane has all of them
## rounding      where inputs are rounded: "loaded", by the lane that has loaded one; "before", by a kernel of its own, into
##               a copy of x that float16 makes half as large
##               (rounding_group: work-items of its work-groups)
## lanes, columns, positions  of the instruction;  a_*, b_*, d_*: which elements of weights, inputs and results a lane
##               holds: lane / divisor % modulus * factor, plus places (clprune/kernels/matrix_unit.py)
## precision     of the factors: "float32"; "tf32", "float16": rounded to 11 bits, the weights beforehand; sums are float32
##
## Source: fragments as in PTX ISA 7.0 and NVIDIA's CUTLASS; unit = tile_m x 1 as in BCBP (AAAI 2023); gathered inputs as
## in OVW sparsity (arXiv:2203.05016).
<%namespace name="common" file="common.mako"/>
<%
    is_half = precision == "float16"
    per_word = 2 if is_half else 1
    a_words, b_words, sums = len(a_rows_places) // per_word, len(b_columns_places) // per_word, len(d_rows_places)
    A, B, D = vector_type("uint", a_words), vector_type("uint", b_words), vector_type("float", sums)
    parts = 4 if pooled else 1
    slots, units = range(tiles_n // parts), range(tile_m // 16)
    step_words = tile_m // 16 * lanes * a_words
    has_instruction = unit != "single"
    is_rounded = rounding == "before"
    X = "ushort" if is_half and is_rounded else "float"
    # NVIDIA's loads take 64 bits and a constant, AMD's a base, 32 bits of offset and a constant.
    is_wide = unit == "mma"
    x_bytes = 1 if is_wide else 2 if X == "ushort" else 4

    def spread(numbers):
        """Where a lane's elements begin, as an expression."""
        divisor, modulus, factor = numbers
        if factor == 0 or modulus == 1:
            return "0"
        return f"lane / {divisor} % {modulus} * {factor}"

    def element(vector, index, count):
        """One of `count` elements of a vector, as an expression."""
        return vector if count == 1 else f"{vector}.s{index:x}"

    def value(word, index, count):
        """The float32 value of element `index` of a fragment, as an expression."""
        if not is_half:
            return f"as_float({element(word, index, count)})"
        return f"from_half({element(word, index // 2, count)} >> {16 * (index % 2)} & 0xffff)"

    def words(values):
        """A fragment of rounded values, as an expression."""
        groups = [", ".join(values[i:i + per_word]) for i in range(0, len(values), per_word)]
        if is_rounded:
            given = [f"as_uint({f'(ushort2)({group})' if is_half else group})" for group in groups]
        else:
            given = [f"to_word({group})" for group in groups]
        return given[0] if b_words == 1 else f"({B})({', '.join(given)})"

    def input_value(e, v, part):
        if mapping == "flat":
            return f"INPUT(p{e}, 0)[{v * positions}]"
        return f"INPUT(p{e}, in{v}{' + line' if part >= 2 else ''})[{part % 2 * stride_x}]"

    def scaled(number):
        return number if x_bytes == 1 else f"{x_bytes} * ({number})"
%>
% if is_wide:
#define INPUT(pointer, more) (pointer + (more))
% else:
#define INPUT(offset, more) ((__global const ${X} *)((__global const char *)x + (size_t)(offset + (more))))
% endif
${common.multiply_add_macro()}
${common.activation_function(activation, 1)}
${common.sum_functions()}
% if pooled:
inline float larger(const float a, const float b) { return a > b ? a : b; }
% endif
% if has_instruction:
#ifdef HAS_MATRIX_${unit.upper()}
#define LOAD_WORDS(p) (*(__global const ${A} *)(p))
<% count = len(b_columns_places) %>
#define LOAD_COLUMNS(p) (*(__global const ${vector_type("int", count)} *)(p))
% if unit == "mma":
<%
    shape = "m16n8k16.row.col.f32.f16.f16.f32" if is_half else "m16n8k8.row.col.f32.tf32.tf32.f32"
%>
inline ${D} multiply(const ${D} d, const ${A} a, const ${B} b)
{
    float d0 = d.s0, d1 = d.s1, d2 = d.s2, d3 = d.s3;
    asm volatile("mma.sync.aligned.${shape} {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d0), "+f"(d1), "+f"(d2), "+f"(d3)
        : "r"(a.s0), "r"(a.s1), "r"(a.s2), "r"(a.s3), "r"(b.s0), "r"(b.s1));
    return (${D})(d0, d1, d2, d3);
}
% if is_half:
inline uint to_word(const float low, const float high)
{
    uint word;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
    return word;
}
% else:
inline uint to_word(const float v)
{
    uint word;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(word) : "f"(v));
    return word;
}
% endif
% else:
% if is_half:
#pragma OPENCL EXTENSION cl_khr_fp16 : enable
inline uint to_word(const float low, const float high) { return as_uint((half2)((half)low, (half)high)); }
% elif precision == "tf32":
inline uint to_word(const float v) { return isfinite(v) ? (as_uint(v) + 0x1000u) & 0xffffe000u : as_uint(v); }
% else:
inline uint to_word(const float v) { return as_uint(v); }
% endif
inline ${D} multiply(const ${D} d, const ${A} a, const ${B} b)
{
% if unit == "mfma" and is_half:
    return __builtin_amdgcn_mfma_f32_16x16x16f16(as_half4(a), as_half4(b), d, 0, 0, 0);
% elif unit == "mfma":
    return __builtin_amdgcn_mfma_f32_16x16x4f32(as_float(a), as_float(b), d, 0, 0, 0);
% elif unit == "wmma":
    return __builtin_amdgcn_wmma_f32_16x16x16_f16_w32(as_half16(a), as_half16(b), d);
% else:
## Instructions of 8 rows each.
% if not is_half:
    return (${D})(intel_sub_group_tf32_tf32_matrix_mad_k8(as_float8(a).lo, as_float8(b), d.lo),
                  intel_sub_group_tf32_tf32_matrix_mad_k8(as_float8(a).hi, as_float8(b), d.hi));
% else:
<% rows = "as_short16" if unit == "xmx16" else "as_int16" %>
    return (${D})(intel_sub_group_f16_f16_matrix_mad_k16(${rows}(a).lo, as_int8(b), d.lo),
                  intel_sub_group_f16_f16_matrix_mad_k16(${rows}(a).hi, as_int8(b), d.hi));
% endif
% endif
}
% endif
#define SHARE_WEIGHTS(u)
#define SHARE_INPUTS(j)
#define SHARED()
#define multiply_tile(u, j) d##u##_##j = multiply(d##u##_##j, a##u, b##j)
#else  // the same fragments in plain OpenCL C
% endif
#define LOAD_WORDS(p) (${vector_load(a_words, "p")})
#define LOAD_COLUMNS(p) (${vector_load(len(b_columns_places), "p")})
% if is_half:
## float16 by its bits: half arithmetic is no core OpenCL C.
inline uint half_bits(const float v)
{
    const uint bits = as_uint(v) & 0x7fffffffu, sign = as_uint(v) >> 16 & 0x8000u;
    if (bits >= 0x477ff000u) return sign | (bits > 0x7f800000u ? 0x7e00u : 0x7c00u);
    if (bits < 0x38800000u) return sign | (uint)rint(as_float(bits) * ${c_float(2.0**24)});
    return sign | (bits + 0xfffu + (bits >> 13 & 1u) - 0x38000000u) >> 13;
}
inline uint to_word(const float low, const float high) { return half_bits(low) | half_bits(high) << 16; }
inline float from_half(const uint bits)
{
    const uint size = bits & 0x7fffu;
    const float v = size < 0x400u ? (float)size * ${c_float(2.0**-24)} : as_float(size >= 0x7c00u ? size << 13 | 0x7f800000u : (size << 13) + 0x38000000u);
    return bits & 0x8000u ? -v : v;
}
% elif precision == "tf32":
inline uint to_word(const float v) { return isfinite(v) ? (as_uint(v) + 0x1000u) & 0xffffe000u : as_uint(v); }
% else:
inline uint to_word(const float v) { return as_uint(v); }
% endif
% if has_instruction:
inline void share_weights(const ${A} a, const int lane, __local float *left)
{
    const int a_row = ${spread(a_rows)}, a_column = ${spread(a_columns)};
% for e, (row, column) in enumerate(zip(a_rows_places, a_columns_places)):
    left[(a_row + ${row}) * ${columns} + a_column + ${column}] = ${value("a", e, a_words)};
% endfor
}
inline void share_inputs(const ${B} b, const int lane, __local float *right)
{
    const int b_column = ${spread(b_columns)}, b_position = ${spread(b_positions)};
## Lanes that hold equal inputs: the first of them writes.
<% holders = lanes * len(b_columns_places) // (columns * positions) %>
% if holders > 1:
    if (lane >= ${lanes // holders}) return;
% endif
% for e, column in enumerate(b_columns_places):
    right[(b_column + ${column}) * ${positions} + b_position] = ${value("b", e, b_words)};
% endfor
}
inline ${D} multiply(${D} d, const int lane, __local const float *left, __local const float *right)
{
    const int d_row = ${spread(d_rows)}, d_position = ${spread(d_positions)};
    for (int k = 0; k < ${columns}; k++) {
% for e, (row, position) in enumerate(zip(d_rows_places, d_positions_places)):
        ${element("d", e, sums)} = MULTIPLY_ADD(left[(d_row + ${row}) * ${columns} + k], right[k * ${positions} + d_position + ${position}], ${element("d", e, sums)});
% endfor
    }
    return d;
}
## Two barriers per step: drivers for CPUs take very long to compile many.
#define SHARE_WEIGHTS(u) share_weights(a##u, lane, left + u * ${16 * columns})
#define SHARE_INPUTS(j) share_inputs(b##j, lane, right + j * ${columns * positions})
#define SHARED() barrier(CLK_LOCAL_MEM_FENCE)
#define multiply_tile(u, j) d##u##_##j = multiply(d##u##_##j, lane, left + u * ${16 * columns}, right + j * ${columns * positions})
#endif
% else:
inline ${D} multiply(${D} d, const ${A} a, const ${B} b)
{
% for e in range(len(a_rows_places)):
<% row = a_rows_places[e] %>
    ${element("d", row, sums)} = MULTIPLY_ADD(${value("a", e, a_words)}, ${value("b", a_columns_places[e], b_words)}, ${element("d", row, sums)});
% endfor
    return d;
}
#define SHARE_WEIGHTS(u)
#define SHARE_INPUTS(j)
#define SHARED()
#define multiply_tile(u, j) d##u##_##j = multiply(d##u##_##j, a##u, b##j)
% endif
% if is_rounded:
__kernel ${work_group_attributes(rounding_group, 1, 1)}
void round_input(__global const float *restrict x, __global ${X} *restrict q, const int first, const int count)
{
    const int i = get_global_id(0);
    if (i < count) q[i] = ${f"(ushort)to_word(x[first + i], {c_float(0)})" if is_half else "as_float(to_word(x[first + i]))"};
}
% endif
% if unit in ("xmx16", "xmx8"):
#ifdef HAS_MATRIX_${unit.upper()}
__attribute__((intel_reqd_sub_group_size(${lanes})))
#endif
% endif
__kernel ${work_group_attributes(lanes * group_n, 1, 1)}
void conv_matrix(__global const ${X} *restrict x,
% if added:
                 __global const float *restrict other,
                 const int other_shift,
% endif
                 __global const uint *restrict weights,
                 __global const int *restrict offsets,
                 __global const int *restrict blocks,
                 __global const float *restrict bias,
                 __global const char *restrict valid,
                 __global float *restrict y,
                 const int block_count,
                 const int slot_count,
                 const int out_width,
                 const int rows_per_image,
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
% if has_instruction:
#ifndef HAS_MATRIX_${unit.upper()}
    __local float left_of_all[${group_n * tile_m * columns}];
    __local float right_of_all[${group_n * tiles_n * columns * positions}];
    __local float *left = left_of_all + get_local_id(0) / ${lanes} * ${tile_m * columns};
    __local float *right = right_of_all + get_local_id(0) / ${lanes} * ${tiles_n * columns * positions};
#endif
% endif
    const int lane = ${f"get_local_id(0) % {lanes}" if lanes > 1 else "0"}, warp = ${f"get_local_id(0) / {lanes}" if group_n > 1 else "0"};
    const int group = get_group_id(0), n_group = group / block_count, block = group - n_group * block_count;
    __global const int *descriptor = blocks + block * 6;
    const int kept = descriptor[1];
    __global const int *list = offsets + descriptor[0] + ${spread(b_columns)};
    __global const uint *w = weights + descriptor[2] + lane * ${a_words};
    const int first_slot = (n_group * ${group_n} + warp) * ${len(slots) * positions};
    const int first_row = ${spread(d_rows)};
% if mapping == "flat":
    const ${"int" if is_wide else "uint"} in0 = ${scaled(f"x_origin + first_slot + {spread(b_positions)}")};
% else:
    const ${"int" if is_wide else "uint"} line = ${scaled(f"{stride_y} * x_pitch")};
% for v in slots:
    const int slot${v} = min(first_slot + ${v * positions} + ${spread(b_positions)}, slot_count - 1);
    const int row${v} = slot${v} / out_width, image${v} = row${v} / rows_per_image;
    const ${"int" if is_wide else "uint"} in${v} = ${scaled(f"x_origin + image{v} * x_image_stride + (row{v} - image{v} * rows_per_image) * {stride_y * (2 if pooled else 1)} * x_pitch + (slot{v} - row{v} * out_width) * {stride_x * (2 if pooled else 1)}")};
% endfor
% endif
% for u in units:
    const ${D} bias${u} = (${D})(${", ".join(f"bias[block * {tile_m} + {16 * u + row} + first_row]" for row in d_rows_places)});
% for j in range(tiles_n):
    ${D} d${u}_${j} = bias${u};
% endfor
% endfor
    for (int k = 0; k < kept; k += ${columns}) {
        const ${vector_type("int", len(b_columns_places))} at = LOAD_COLUMNS(list + k);
% for e in range(len(b_columns_places)):
<% at = element("at", e, len(b_columns_places)) + (" + in0" if mapping == "flat" and is_wide else "") %>
        ${f"__global const {X} *p{e} = x + {at}" if is_wide else f"const uint p{e} = {scaled(at)}" + (" + in0" if mapping == "flat" else "")};
% endfor
% for u in units:
        const ${A} a${u} = LOAD_WORDS(w + ${u * lanes * a_words});
% endfor
        w += ${step_words};
% for v in slots:
% for part in range(parts):
<% j = v * parts + part %>
        const ${B} b${j} = ${words([input_value(e, v, part) for e in range(len(b_columns_places))])};
% endfor
% endfor
        SHARED();
% for u in units:
        SHARE_WEIGHTS(${u});
% endfor
% for j in range(tiles_n):
        SHARE_INPUTS(${j});
% endfor
        SHARED();
% for j in range(tiles_n):
% for u in units:
        multiply_tile(${u}, ${j});
% endfor
% endfor
    }
    const int block_rows = descriptor[4] - first_row;
    y += (size_t)(descriptor[3] + first_row) * y_channel_stride;
% for v in slots:
% for position in dict.fromkeys(d_positions_places):
    { const int slot = first_slot + ${v * positions + position} + ${spread(d_positions)};
    if (slot < slot_count) {
% if mapping == "flat":
        const int out = y_origin + slot;
        const int keep = valid[slot];
% else:
        const int row = slot / out_width, image = row / rows_per_image;
        const int out = y_origin + image * y_image_stride + (row - image * rows_per_image) * y_pitch + slot - row * out_width;
% endif
% for u in units:
% for e in range(sums):
% if d_positions_places[e] == position:
<%
    place = 16 * u + d_rows_places[e]
    results = [f"activate({element(f'd{u}_{v * parts + part}', e, sums)})" for part in range(parts)]
    result = f"larger(larger({results[0]}, {results[1]}), larger({results[2]}, {results[3]}))" if pooled else results[0]
    at = f"y + (size_t){place} * y_channel_stride + out"
    result = common.summed(1, result, at)
%>
        if (${place} < block_rows) *(${at}) = ${f"as_float(as_int({result}) & keep)" if mapping == "flat" else result};
% endif
% endfor
% endfor
    }
    }
% endfor
% endfor
}
