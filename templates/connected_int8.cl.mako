## Fully connected layer in integers, dense or with columns removed; bias and activation fused. Two stages: the input is
## quantized once into a scratch, then multiplied.
##
##   q[n, k] = clamp(round_half_to_even(x[n, offset[k]] * inverse_scale), -127, 127)
##   y[n, m] = activate(scale[m] * sum_k W[m, k] * q[n, k] + bias[m]),  sums in 32 bits, exact
##
## Layout   x, y: as in connected.cl.mako;  x_offsets[k]: where input k lies, read unless is_contiguous
##          weights[row block][kept word][tile_m]: words of inputs_packed neighbouring codes of 8 bits, the first in the
##          low bits;  blocks, offsets (in words), bias: as in conv.cl.mako
##          q[image][word]: 32 bits per word, in which a code takes 32 / inputs_packed
##          scales[row block][tile_m]: scale of the weights' row times that of the input
##
## inputs_packed  2: pairs, which widen to 16 bits in registers. Compilers of CPU drivers (HAS_PAIR_PRODUCTS) turn the sum
##               of two widened products into one instruction (pmaddwd, vpdpwssd).  4: fours of 8 bits, by the device's own
##               dot product where HAS_INTEGER_DOT_PRODUCT says that it has one, else in plain C. All give the same bits
## others        as in connected.cl.mako
##
## Source: integer-only inference (Jacob et al., arXiv:1712.05877) with symmetric codes.
<%namespace name="common" file="common.mako"/>
<%
    T, I = vector_type("float", vector_width), vector_type("int", vector_width)
    W = vector_type("ushort" if inputs_packed == 2 else "int", vector_width)
    code, code_vector = ("short", vector_type("short", vector_width)) if inputs_packed == 2 else ("char", vector_type("char", vector_width))
    tile_m = group_m * vectors * vector_width
    slots, images = range(vectors), range(tile_n)
    lanes = [""] if vector_width == 1 else [".s" + "0123456789abcdef"[lane] for lane in range(vector_width)]
    run = quantize_steps * vector_width
%>
${common.multiply_add_macro()}
${common.activation_function(activation, vector_width)}
${common.partial_store_function(vector_width)}
% if inputs_packed == 2:
#ifdef HAS_PAIR_PRODUCTS
// The products of all 16-bit halves, then sums of neighbours: the form that compilers know as multiply-add of pairs.
typedef char codes __attribute__((ext_vector_type(${2 * vector_width})));
typedef short halves __attribute__((ext_vector_type(${2 * vector_width})));
typedef int products __attribute__((ext_vector_type(${2 * vector_width})));
inline ${I} widen(const ${W} a)
{
    return __builtin_astype(__builtin_convertvector(__builtin_astype(a, codes), halves), ${I});
}
inline ${I} dot_add(const ${I} a, const ${I} b, const ${I} sum)
{
    const products p = __builtin_convertvector(__builtin_astype(a, halves), products) * __builtin_convertvector(__builtin_astype(b, halves), products);
    return sum + (p.even + p.odd);
}
#else
inline ${I} widen(const ${W} a)
{
    const ${I} word = convert_${I}(a);
    return (word << 24 >> 24 & 0xffff) | word << 16 >> 24 << 16;
}
inline ${I} dot_add(const ${I} a, const ${I} b, const ${I} sum)
{
    return sum + (a << 16 >> 16) * (b << 16 >> 16) + (a >> 16) * (b >> 16);
}
#endif
% else:
inline ${I} widen(const ${W} a) { return a; }
#ifdef HAS_INTEGER_DOT_PRODUCT
inline ${I} dot_add(const ${I} a, const ${I} b, const ${I} sum)
{
    return sum + (${I})(${", ".join(f"dot_4x8packed_ss_int(as_uint(a{lane}), as_uint(b{lane}))" for lane in lanes)});
}
#else
inline ${I} dot_add(const ${I} a, const ${I} b, const ${I} sum)
{
    return sum + (a << 24 >> 24) * (b << 24 >> 24) + (a << 16 >> 24) * (b << 16 >> 24) + (a << 8 >> 24) * (b << 8 >> 24) + (a >> 24) * (b >> 24);
}
#endif
% endif
inline int quantize(const float v) { return clamp(convert_int_sat_rte(v), -127, 127); }
__kernel ${work_group_attributes(quantize_group, 1, 1)}
void quantize_input(__global const float *restrict x,
          __global int *restrict q,
          __global const int *restrict x_offsets,
          const float inverse_scale,
          const int inputs,
          const int words,
          const int x_origin,
          const int x_image_stride)
{
    const int image = get_global_id(1), end = min(words * ${inputs_packed}, (int)(get_global_id(0) + 1) * ${run});
    __global const float *in = x + x_origin + (size_t)image * x_image_stride;
    __global ${code} *out = (__global ${code} *)(q + (size_t)image * words);
    int k = get_global_id(0) * ${run};
% if is_contiguous and vector_width > 1:
    for (; k + ${vector_width} <= min(end, inputs); k += ${vector_width}) {
        const ${I} found = clamp(convert_${I}_sat_rte(${vector_load(vector_width, "in + k")} * inverse_scale), (${I})(-127), (${I})(127));
        ${vector_store(vector_width, f"convert_{code_vector}(found)", "out + k")}
    }
% endif
    for (; k < end; k++) out[k] = k < inputs ? quantize(in[${"k" if is_contiguous else "x_offsets[k]"}] * inverse_scale) : 0;
}
<%def name="columns(count)">
% for u in range(count):
    {
        const size_t a = first + (size_t)(k + ${u * group_k}) * ${tile_m};
        const int o = list[k + ${u * group_k}];
% for j in slots:
        const ${I} a${j} = widen(${vector_load(vector_width, f"weights + a + {j * group_m * vector_width}")});
% endfor
% for n in images:
        { const ${I} b = (${I})(q${n}[o]);
% for j in slots:
        s${n}_${j} = dot_add(a${j}, b, s${n}_${j});
% endfor
        }
% endfor
    }
% endfor
</%def>
__kernel ${work_group_attributes(group_m, group_k, 1)}
void connected_int8(__global const int *restrict q,
               __global const ${"ushort" if inputs_packed == 2 else "int"} *restrict weights,
               __global const int *restrict offsets,
               __global const int *restrict blocks,
               __global const float *restrict bias,
               __global const float *restrict scales,
               __global float *restrict y,
               const int words,
               const int batch,
               const int y_origin,
               const int y_image_stride,
               const int y_channel_stride)
{
    const int block = get_group_id(0);
    const int local_m = get_local_id(0), local_k = get_local_id(1);
    const int image = get_group_id(1) * ${tile_n};
    __global const int *descriptor = blocks + block * 6;
    const int kept = descriptor[1];
    __global const int *list = offsets + descriptor[0];
    const size_t first = (size_t)descriptor[2] + local_m * ${vector_width};
% for n in images:
    __global const int *q${n} = q + (size_t)min(image + ${n}, batch - 1) * words;
% for j in slots:
    ${I} s${n}_${j} = (${I})(0);
% endfor
% endfor
    int k = local_k;
% if k_unroll > 1:
    for (; k + ${(k_unroll - 1) * group_k} < kept; k += ${k_unroll * group_k}) {
        ${columns(k_unroll)}
    }
% endif
    for (; k < kept; k += ${group_k}) {
        ${columns(1)}
    }
% if group_k > 1:
    __local ${I} partial[${group_k * tile_n * vectors * group_m}];
% for n in images:
% for j in slots:
    partial[((local_k * ${tile_n} + ${n}) * ${vectors} + ${j}) * ${group_m} + local_m] = s${n}_${j};
% endfor
% endfor
    barrier(CLK_LOCAL_MEM_FENCE);
    if (local_k != 0) return;
    for (int other = 1; other < ${group_k}; other++) {
% for n in images:
% for j in slots:
        s${n}_${j} += partial[((other * ${tile_n} + ${n}) * ${vectors} + ${j}) * ${group_m} + local_m];
% endfor
% endfor
    }
% endif
% for j in slots:
    {
        const int row = local_m * ${vector_width} + ${j * group_m * vector_width};
        const int count = descriptor[4] - row;
        const ${T} b = ${vector_load(vector_width, f"bias + block * {tile_m} + row")};
        const ${T} scale = ${vector_load(vector_width, f"scales + block * {tile_m} + row")};
% for n in images:
        if (image + ${n} < batch) {
            const ${T} v = activate(MULTIPLY_ADD(convert_${T}(s${n}_${j}), scale, b));
            __global float *out = y + y_origin + (size_t)(image + ${n}) * y_image_stride + (size_t)(descriptor[3] + row) * y_channel_stride;
            if (y_channel_stride == 1 && count >= ${vector_width}) { ${vector_store(vector_width, "v", "out")} }
            else if (y_channel_stride == 1) store_first(v, count, out);
            else {
% for lane in range(vector_width):
                if (count > ${lane}) out[(size_t)${lane} * y_channel_stride] = v${lanes[lane]};
% endfor
            }
        }
% endfor
    }
% endfor
}
