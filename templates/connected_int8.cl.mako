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
<%namespace name="integer" file="integer.mako"/>
<%namespace name="shared" file="connected.mako"/>
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
<%def name="code_type()">
typedef char codes __attribute__((ext_vector_type(${2 * vector_width})));
</%def>
<%def name="widen_pairs()">
inline ${I} widen(const ${W} a)
{
    return __builtin_astype(__builtin_convertvector(__builtin_astype(a, codes), halves), ${I});
}
</%def>
<%def name="widen_plain()">
inline ${I} widen(const ${W} a)
{
    const ${I} word = convert_${I}(a);
    return (word << 24 >> 24 & 0xffff) | word << 16 >> 24 << 16;
}
</%def>
% if inputs_packed == 4:
inline ${I} widen(const ${W} a) { return a; }
% endif
${integer.dot_add_function(inputs_packed, lanes, capture(code_type), capture(widen_pairs), capture(widen_plain))}
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
    ${shared.row_block()}
% for n in images:
    __global const int *q${n} = q + (size_t)min(image + ${n}, batch - 1) * words;
% for j in slots:
    ${I} s${n}_${j} = (${I})(0);
% endfor
% endfor
    ${shared.loop(columns, "kept")}
    ${shared.add_partial_sums("s", I)}
    ${shared.store(lambda n, j: f"MULTIPLY_ADD(convert_{T}(s{n}_{j}), scale, b)", True)}
}
