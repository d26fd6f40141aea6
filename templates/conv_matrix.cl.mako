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
##          blocks[row block][6]: start of its list, kept columns (filled up to whole turns), start of its values in words,
##          first row, rows, unused
##          offsets: lists of input offsets, whole turns; dense row blocks of a group share one list
##          weights[row block][step][unit of 16 rows][lane][words]: see clprune/packing/fragments.py; words are float32, or
##          two float16 or bfloat16 each, of which the first is in the low bits
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
##               a copy of x (rounding_group: work-items of its work-groups)
## bundle        channels that lie side by side in that copy, as fragments hold columns, per_word to a word: a lane
##               loads them at once. Lists have one entry for all of them at one place of the window, kept where any row
##               has a weight for any; groups of channels are filled up with zeros. An input that is not finite reaches all
##               rows that keep its bundle, with or without a weight for it
## turn_steps    steps of a turn of the loop: where a step has few instructions, what a turn costs is shared by two
## lanes, columns, positions  of the instruction;  a_*, b_*, d_*: which elements of weights, inputs and results a lane
##               holds: lane / divisor % modulus * factor, plus places (clprune/kernels/matrix_unit.py)
## precision     of the factors: "float32"; "tf32", "float16": rounded to 11 bits, "bfloat16": to 8, the weights
##               beforehand; sums are float32. per_word: how many are in 32 bits
##
## Source: fragments as in PTX ISA 7.0 and NVIDIA's CUTLASS; unit = tile_m x 1 as in BCBP (AAAI 2023); gathered inputs as
## in OVW sparsity (arXiv:2203.05016).
<%namespace name="common" file="common.mako"/>
<%
    is_paired = per_word == 2
    a_words, b_words, sums = len(a_rows_places) // per_word, len(b_columns_places) // per_word, len(d_rows_places)
    A, B, D = vector_type("uint", a_words), vector_type("uint", b_words), vector_type("float", sums)
    parts = 4 if pooled else 1
    slots, units = range(tiles_n // parts), range(tile_m // 16)
    step_words = tile_m // 16 * lanes * a_words
    has_instruction = unit != "single"
    is_rounded = rounding == "before"
    bundle_words = bundle // per_word if is_rounded else 1
    X = vector_type("uint", bundle_words) if is_rounded else "float"
    loads = len(b_columns_places) // bundle  # of a fragment
    # NVIDIA's loads take 64 bits and a constant: pointers to positions, to which entries of a list are added. AMD's take a
    # base that the warp shares, 32 bits of a lane and a constant: entries are in the base where all lanes have the same.
    has_pointers, has_bases = unit == "mma", b_columns[2] == 0
    place_type = f"__global const {X} *" if has_pointers else "uint "
    pooled_rows = range(2 if pooled else 1)

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
        if not is_paired:
            return f"as_float({element(word, index, count)})"
        return f"from_bits({element(word, index // 2, count)} >> {16 * (index % 2)} & 0xffff)"

    def words(values):
        """A fragment of rounded values, as an expression."""
        if is_rounded:
            return joined(values, bundle_words)
        groups = [", ".join(values[i:i + per_word]) for i in range(0, len(values), per_word)]
        return joined([f"to_word({group})" for group in groups], 1)

    def joined(vectors, size):
        """Vectors of `size` words each, side by side, as an expression."""
        if len(vectors) == 1:
            return vectors[0]
        if size == 1:
            return f"({vector_type('uint', len(vectors))})({', '.join(vectors)})"
        half = len(vectors) // 2
        return f"join{len(vectors) * size}({joined(vectors[:half], size)}, {joined(vectors[half:], size)})"

    def input_value(e, v, part):
        entry = f"base{e}" if has_bases else element("at", e, loads)
        if mapping == "flat":
            return f"INPUT({entry}, in0_0)[{v * positions}]"
        return f"INPUT({entry}, in{v}_{part // 2})[{part % 2 * stride_x}]"

    def place(number):
        """Where positions lie, as INPUT wants it, from an expression of elements."""
        return f"x + ({number})" if has_pointers else f"{4 * bundle_words}u * ({number})"
%>
<%def name="to_word_by_bits()">
## Rounding in core OpenCL C, which has no arithmetic of these types. Ties go to even, of tf32 away from zero.
% if precision == "float16":
inline uint to_bits(const float v)
{
    const uint bits = as_uint(v) & 0x7fffffffu, sign = as_uint(v) >> 16 & 0x8000u;
    if (bits >= 0x477ff000u) return sign | (bits > 0x7f800000u ? 0x7e00u : 0x7c00u);
    if (bits < 0x38800000u) return sign | (uint)rint(as_float(bits) * ${c_float(2.0**24)});
    return sign | (bits + 0xfffu + (bits >> 13 & 1u) - 0x38000000u) >> 13;
}
% elif precision == "bfloat16":
inline uint to_bits(const float v)
{
## Both before the choice: AMD's compiler would make branches.
    const uint bits = as_uint(v), quiet = bits >> 16 | 0x40u, nearest = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
    return isnan(v) ? quiet : nearest;
}
% endif
% if per_word == 2:
inline uint to_word(const float low, const float high) { return to_bits(low) | to_bits(high) << 16; }
% elif precision == "tf32":
inline uint to_word(const float v) { return isfinite(v) ? (as_uint(v) + 0x1000u) & 0xffffe000u : as_uint(v); }
% else:
inline uint to_word(const float v) { return as_uint(v); }
% endif
</%def>
## What a warp shares and what its lanes add to it: LLVM would rather keep the sums, which vector instructions have to move.
#ifdef __AMDGCN__
#define OF_WARP(pointer) __asm__("" : "+s"(pointer))
#define OF_LANE(place) __asm__("" : "+v"(place))
#else
#define OF_WARP(pointer)
#define OF_LANE(place)
#endif
#define BEHIND(type, pointer, bytes) ((__global const type *)((__global const char *)(pointer) + (size_t)(bytes)))
% if has_pointers:
#define INPUT(entry, place) ((place) + (entry))
% elif has_bases:
#define INPUT(base, place) BEHIND(${X}, base, place)
% else:
#define INPUT(entry, place) BEHIND(${X}, x, (uint)(entry) * ${4 * bundle_words}u + (place))
% endif
${common.multiply_add_macro()}
${common.activation_function(activation, 1)}
${common.sum_functions()}
% if is_rounded and bundle_words > 1:
## In functions of their own: of several in one expression clang makes shuffles with undefined places, in which Oclgrind
## 21.10 with --uninitialized crashes; and it reports what clang makes of `*p = (uint2)(a, b)`.
% for size in (4, 8):
% if bundle_words < size <= b_words:
inline uint${size} join${size}(const ${vector_type("uint", size // 2)} low, const ${vector_type("uint", size // 2)} high) { return (uint${size})(low, high); }
% endif
% endfor
% endif
% if pooled:
inline float larger(const float a, const float b) { return a > b ? a : b; }
% endif
% if has_instruction:
#ifdef HAS_MATRIX_${unit.upper()}
#define LOAD_WORDS(p) (*(__global const ${A} *)(p))
#define LOAD_COLUMNS(p) (*(__global const ${vector_type("int", loads)} *)(p))
% if is_rounded:
#define STORE_WORDS(words, p) *(p) = (words);
% endif
% if unit == "mma":
<%
    short = {"tf32": "tf32", "float16": "f16", "bfloat16": "bf16"}[precision]
    shape = f"m16n8k{columns}.row.col.f32.{short}.{short}.f32"
%>
inline ${D} multiply(const ${D} d, const ${A} a, const ${B} b)
{
    float d0 = d.s0, d1 = d.s1, d2 = d.s2, d3 = d.s3;
    asm volatile("mma.sync.aligned.${shape} {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d0), "+f"(d1), "+f"(d2), "+f"(d3)
        : "r"(a.s0), "r"(a.s1), "r"(a.s2), "r"(a.s3), "r"(b.s0), "r"(b.s1));
    return (${D})(d0, d1, d2, d3);
}
% if is_paired:
inline uint to_word(const float low, const float high)
{
    uint word;
    asm("cvt.rn.${short}x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
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
% if precision == "float16":
#pragma OPENCL EXTENSION cl_khr_fp16 : enable
inline uint to_word(const float low, const float high) { return as_uint((half2)((half)low, (half)high)); }
% else:
${to_word_by_bits()}
% endif
inline ${D} multiply(const ${D} d, const ${A} a, const ${B} b)
{
% if unit == "mfma" and precision == "float16":
    return __builtin_amdgcn_mfma_f32_16x16x16f16(as_half4(a), as_half4(b), d, 0, 0, 0);
% elif unit == "mfma" and precision == "bfloat16":
#ifdef __gfx908__  // instructions of 8 columns
    return __builtin_amdgcn_mfma_f32_16x16x8bf16(as_short2(a.hi), as_short2(b.hi),
        __builtin_amdgcn_mfma_f32_16x16x8bf16(as_short2(a.lo), as_short2(b.lo), d, 0, 0, 0), 0, 0, 0);
#else
    return __builtin_amdgcn_mfma_f32_16x16x16bf16_1k(as_short4(a), as_short4(b), d, 0, 0, 0);
#endif
% elif unit == "mfma":
    return __builtin_amdgcn_mfma_f32_16x16x4f32(as_float(a), as_float(b), d, 0, 0, 0);
% elif unit == "wmma":
<% short, lane_type = ("f16", "half16") if precision == "float16" else ("bf16", "short16") %>
    return __builtin_amdgcn_wmma_f32_16x16x16_${short}_w32(as_${lane_type}(a), as_${lane_type}(b), d);
% else:
## Instructions of 8 rows each.
% if precision == "tf32":
    return (${D})(intel_sub_group_tf32_tf32_matrix_mad_k8(as_float8(a).lo, as_float8(b), d.lo),
                  intel_sub_group_tf32_tf32_matrix_mad_k8(as_float8(a).hi, as_float8(b), d.hi));
% else:
<%
    short = "f16" if precision == "float16" else "bf16"
    rows = "as_short16" if unit == "xmx16" else "as_int16"
%>
    return (${D})(intel_sub_group_${short}_${short}_matrix_mad_k16(${rows}(a).lo, as_int8(b), d.lo),
                  intel_sub_group_${short}_${short}_matrix_mad_k16(${rows}(a).hi, as_int8(b), d.hi));
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
#define LOAD_COLUMNS(p) (${vector_load(loads, "p")})
% if is_rounded:
#define STORE_WORDS(words, p) ${vector_store(bundle_words, "words", "(__global uint *)(p)")}
% endif
${to_word_by_bits()}
% if precision == "float16":
inline float from_bits(const uint bits)
{
    const uint size = bits & 0x7fffu;
    const float v = size < 0x400u ? (float)size * ${c_float(2.0**-24)} : as_float(size >= 0x7c00u ? size << 13 | 0x7f800000u : (size << 13) + 0x38000000u);
    return bits & 0x8000u ? -v : v;
}
% elif precision == "bfloat16":
inline float from_bits(const uint bits) { return as_float(bits << 16); }
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
## Bundles of channels: element `before + b * x_channel_stride + place` is channels from b * bundle on, at that place.
__kernel ${work_group_attributes(rounding_group, 1, 1)}
void round_input(__global const float *restrict x, __global ${X} *restrict q, const int channels, const int x_origin,
                 const int x_channel_stride, const int before, const int count)
{
    const int i = get_global_id(0);
    if (i >= count) return;
    const int channel = max(i - before, 0) / x_channel_stride * ${bundle};
    x += x_origin + i + (size_t)(channel / ${bundle}) * ${bundle - 1} * x_channel_stride;
<%
    def channel_value(c):
        """The value of one channel of a bundle, zero behind the last, as an expression."""
        return f"channel + {c} < channels ? x[(size_t){c} * x_channel_stride] : {c_float(0)}"
    rounded_words = [f"to_word({', '.join(channel_value(c + e) for e in range(per_word))})" for c in range(0, bundle, per_word)]
%>
    STORE_WORDS(${joined(rounded_words, 1)}, q + i)
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
    __global const int *list = offsets + descriptor[0];
    __global const uint *w = weights + descriptor[2];
    uint first_entry = 4u * (${spread(b_columns)} / ${bundle}), first_word = 4u * (lane * ${a_words});
    const int first_slot = (n_group * ${group_n} + warp) * ${len(slots) * positions};
    const int first_row = ${spread(d_rows)};
% if mapping == "flat":
    ${place_type}in0_0 = ${place(f"x_origin + first_slot + {spread(b_positions)}")};
% else:
% for v in slots:
    const int slot${v} = min(first_slot + ${v * positions} + ${spread(b_positions)}, slot_count - 1);
    const int row${v} = slot${v} / out_width, image${v} = row${v} / rows_per_image;
    const int in${v} = x_origin + image${v} * x_image_stride + (row${v} - image${v} * rows_per_image) * ${stride_y * len(pooled_rows)} * x_pitch + (slot${v} - row${v} * out_width) * ${stride_x * len(pooled_rows)};
% for row in pooled_rows:
    ${place_type}in${v}_${row} = ${place(f"in{v}" + (f" + {stride_y} * x_pitch" if row else ""))};
% endfor
% endfor
% endif
% for u in units:
    const ${D} bias${u} = (${D})(${", ".join(f"bias[block * {tile_m} + {16 * u + row} + first_row]" for row in d_rows_places)});
% for j in range(tiles_n):
    ${D} d${u}_${j} = bias${u};
% endfor
% endfor
    for (int k = 0; k < kept; k += ${turn_steps * columns}) {
% for step in range(turn_steps):
    {
        OF_WARP(list);
        OF_WARP(w);
        OF_LANE(first_word);
% if not has_bases:
        OF_LANE(first_entry);
% endif
% if not has_pointers:
% for v in (slots if mapping == "rows" else range(1)):
% for row in pooled_rows:
        OF_LANE(in${v}_${row});
% endfor
% endfor
% endif
        const ${vector_type("int", loads)} at = LOAD_COLUMNS(BEHIND(int, list, first_entry));
% if has_bases:
% for e in range(loads):
        __global const ${X} *base${e} = BEHIND(${X}, x, (uint)${element("at", e, loads)} * ${4 * bundle_words}u);
        OF_WARP(base${e});
% endfor
% endif
% for u in units:
        const ${A} a${u} = LOAD_WORDS(BEHIND(uint, w, first_word) + ${u * lanes * a_words});
% endfor
        list += ${columns // bundle};
        w += ${step_words};
% for v in slots:
% for part in range(parts):
<% j = v * parts + part %>
        const ${B} b${j} = ${words([input_value(e, v, part) for e in range(loads)])};
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
