## Direct convolution in integers, dense or with columns removed; bias, activation and, where `pooled`, the 2x2 max pooling
## that follows are fused. Two stages: the input is quantized once into a scratch, then multiplied.
##
##   q[c, p] = clamp(round_half_to_even(x[c, p] * inverse_scale), -127, 127)
##   y[m, p] = activate(scale[m] * sum_k W[m, k] * q[in(p) + offset[k]] + bias[m]),  sums in 32 bits, exact
##
## Layout   q: planes like those of x, but each element is a 32-bit word that holds channels_packed neighbouring channels,
##          the first in the low bits; k runs over (word, filter row, filter column)
##          x, y, blocks, offsets, valid: as in conv.cl.mako;  weights[row block][kept column][tile_m]: words like q's
##          bias, scales[row block][tile_m]: scale of the weights' row times that of the input
##
## channels_packed  2: pairs of 16 bits. Compilers of CPU drivers (HAS_PAIR_PRODUCTS) turn the sum of two widened products
##               into one instruction (pmaddwd, vpdpwssd), which they do for no sum of four.  4: fours of 8 bits, by the device's own dot product where
##               HAS_INTEGER_DOT_PRODUCT says that it has one, else in plain C. All give the same bits
## others        as in conv.cl.mako
##
## Source: integer-only inference (Jacob et al., arXiv:1712.05877) with symmetric codes; direct convolution by offsets.
<%namespace name="common" file="common.mako"/>
<%namespace name="convolution" file="convolution.mako"/>
<%namespace name="integer" file="integer.mako"/>
<%
    T, I = vector_type("float", vector_width), vector_type("int", vector_width)
    row_step = 2 if pooled else 1
    rows, slots = range(tile_m), range(vectors)
    parts = range(vectors * row_step)
    store_width = vector_width // row_step
    lanes = [""] if vector_width == 1 else [".s" + "0123456789abcdef"[lane] for lane in range(vector_width)]
    if mapping == "flat":
        touched = [f"in{v}" for v in parts] + [f"in{vectors - 1} + {vector_width - 1}"]
    else:
        ends = [f"in{v} + {stride_x * (vector_width - 1)}" for v in parts[-row_step:]]
        touched = [f"in{v}" for v in parts] + ends
    bits = 32 // channels_packed
    mask = "0xffff" if channels_packed == 2 else "0xff"
%>
${common.multiply_add_macro()}
% if prefetch:
${common.prefetch_macros()}
% endif
${common.activation_function(activation, vector_width)}
% if store_width <= 4:
${common.partial_store_function(store_width)}
% endif
% if pooled and vector_width == 16:
<% pairs = [f"lanes[{lane}] > lanes[{lane + 1}] ? lanes[{lane}] : lanes[{lane + 1}]" for lane in range(0, 16, 2)] %>
#ifdef HAS_CPU_PREFETCH
${convolution.pool_function()}
#else
// Through memory: Oclgrind 21.10 takes lanes of so wide a vector that are moved for uninitialized.
inline float8 pool(const float16 upper, const float16 lower)
{
    float lanes[16];
    vstore16(upper > lower ? upper : lower, 0, lanes);
    return (float8)(${", ".join(pairs)});
}
#endif
% elif pooled:
${convolution.pool_function()}
% endif
<%def name="quantize_function(width)">
<% F, J = vector_type("float", width), vector_type("int", width) %>
inline ${J} quantize${width}(const ${F} v) { return clamp(convert_${J}_sat_rte(v), (${J})(-127), (${J})(127)); }
</%def>
${quantize_function(1)}
% if vector_width > 1:
${quantize_function(vector_width)}
% endif
${integer.dot_add_function(channels_packed, lanes)}
__kernel ${work_group_attributes(quantize_group, 1, 1)}
void quantize_input(__global const float *restrict x,
          __global int *restrict q,
          const float inverse_scale,
          const int x_start,
          const int x_channel_stride,
          const int x_image_stride,
          const int plane,
          const int image_span,
          const int channels,
          const int batch)
{
    // Rows behind the last one have no channels: their zeros are the padding under the last plane, and what is behind it.
    const int row = get_global_id(1), word = row / batch, image = row - word * batch;
    const int end = min(image_span, (int)(get_global_id(0) + 1) * ${quantize_steps * vector_width});
    __global int *out = q + (size_t)word * plane + (size_t)image * image_span;
% for c in range(channels_packed):
    const bool is_channel${c} = word * ${channels_packed} + ${c} < channels;
    __global const float *x${c} = x + x_start + (size_t)image * x_image_stride + (size_t)(is_channel${c} ? word * ${channels_packed} + ${c} : 0) * x_channel_stride;
% endfor
    int p = get_global_id(0) * ${quantize_steps * vector_width};
<%def name="words(width, at)">
% for c in range(channels_packed):
        const ${vector_type("int", width)} code${c} = is_channel${c} ? quantize${width}(${vector_load(width, f"x{c} + {at}")} * inverse_scale) : (${vector_type("int", width)})(0);
% endfor
        ${vector_store(width, " | ".join(f"(code{c} & {mask}) << {c * bits}" for c in range(channels_packed)), f"out + {at}")}
</%def>
% if vector_width > 1:
    for (; p + ${vector_width} <= end; p += ${vector_width}) {
        ${words(vector_width, "p")}
    }
% endif
    for (; p < end; p++) {
        ${words(1, "p")}
    }
}
<%def name="columns(count)">
% for u in range(count):
    {
        __global const int *p = x + list[k + ${u}];
% if prefetch:
        { __global const int *ahead = x + list[k + ${u + prefetch}];
% for distance in touched:
        PREFETCH(ahead + ${distance});
% endfor
        }
% endif
% for v in parts:
        const ${I} b${v} = ${convolution.load_positions(f"p + in{v}", "int")};
% endfor
% for i in rows:
        { const ${I} a = (${I})(w[${u * tile_m + i}]);
% for v in parts:
        s${i}_${v} = dot_add(a, b${v}, s${i}_${v});
% endfor
        }
% endfor
    }
% endfor
</%def>
__kernel ${work_group_attributes(group_n, group_m, 1)}
void conv_int8(__global const int *restrict x,
          __global const int *restrict weights,
          __global const int *restrict offsets,
          __global const int *restrict blocks,
          __global const float *restrict bias,
          __global const float *restrict scales,
          __global const char *restrict valid,
          __global float *restrict y,
          const int block_count,
          ${convolution.position_parameters()})
{
    ${convolution.work_group()}
    __global const int *w = weights + descriptor[2];
    ${convolution.positions()}
    ${convolution.prefetch_output()}
% for i in rows:
% for v in parts:
    ${I} s${i}_${v} = (${I})(0);
% endfor
% endfor
    int k = 0;
% if k_unroll > 1:
    for (; k + ${k_unroll} <= kept; k += ${k_unroll}) {
        ${columns(k_unroll)}
        w += ${k_unroll * tile_m};
    }
% endif
    for (; k < kept; k++) {
        ${columns(1)}
        w += ${tile_m};
    }
% for i in rows:
    const ${T} scale${i} = (${T})(scales[block * ${tile_m} + ${i}]), shift${i} = (${T})(bias[block * ${tile_m} + ${i}]);
% for v in parts:
    const ${T} c${i}_${v} = MULTIPLY_ADD(convert_${T}(s${i}_${v}), scale${i}, shift${i});
% endfor
% endfor
    ${convolution.store()}
}
