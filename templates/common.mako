## Shared pieces of every kernel template: prologue, activations, stores of partial vectors.

## Fused multiply-add where the device has it in hardware, else the fastest a*b+c that it offers.
<%def name="multiply_add_macro()">
#ifdef FP_FAST_FMAF
#define MULTIPLY_ADD(a, b, c) fma(a, b, c)
#else
#define MULTIPLY_ADD(a, b, c) mad(a, b, c)
#endif
</%def>

## Bring a cache line early. OpenCL's own prefetch() does nothing on CPU drivers; theirs are built on clang, whose builtin
## takes a plain address, which a CPU's global address is. HAS_CPU_PREFETCH is defined for drivers that do not stumble
## over it (clprune.quirks); elsewhere the hint vanishes.
<%def name="prefetch_macros()">
#ifdef HAS_CPU_PREFETCH
#define PREFETCH(pointer) __builtin_prefetch((const void *)(size_t)(pointer), 0, 3)
#define PREFETCH_FOR_WRITING(pointer) __builtin_prefetch((const void *)(size_t)(pointer), 1, 3)
#else
#define PREFETCH(pointer)
#define PREFETCH_FOR_WRITING(pointer)
#endif
</%def>

## Darknet's activations (src/activations.h of pjreddie/darknet; mish, swish, relu6, hard_mish of AlexeyAB/darknet;
## hard_sigmoid, hard_swish and gelu_erf of clprune)
## as a function (`activate`) on float vectors of `width` lanes. Comparisons rather than fmax: that compiles to one
## instruction everywhere (PoCL's fmax is a call per lane), and a NaN stays one.
<%def name="activation_function(name, width, function='activate')">
<% T = vector_type("float", width) %>
inline ${T} ${function}(${T} v)
{
% if name == "linear":
    return v;
% elif name == "relu":
    return v < ${c_float(0)} ? (${T})(${c_float(0)}) : v;
% elif name == "leaky":
    return v < ${c_float(0)} ? v * ${c_float(0.1)} : v;
% elif name == "relie":
    return v < ${c_float(0)} ? v * ${c_float(0.01)} : v;
% elif name == "relu6":
    return v < ${c_float(0)} ? (${T})(${c_float(0)}) : (v > ${c_float(6)} ? (${T})(${c_float(6)}) : v);
% elif name == "logistic":
    return ${c_float(1)} / (${c_float(1)} + exp(-v));
% elif name == "loggy":
    return ${c_float(2)} / (${c_float(1)} + exp(-v)) - ${c_float(1)};
% elif name == "tanh":
    return tanh(v);
% elif name == "elu":
    return v >= ${c_float(0)} ? v : expm1(v);
% elif name == "selu":
    return v >= ${c_float(0)} ? ${c_float(1.0507)} * v : ${c_float(1.0507 * 1.6732)} * expm1(v);
% elif name == "ramp":
    return (v < ${c_float(0)} ? (${T})(${c_float(0)}) : v) + ${c_float(0.1)} * v;
% elif name == "hardtan":
    return v < ${c_float(-1)} ? (${T})(${c_float(-1)}) : (v > ${c_float(1)} ? (${T})(${c_float(1)}) : v);
% elif name == "plse":
    return v < ${c_float(-4)} ? ${c_float(0.01)} * (v + ${c_float(4)}) : (v > ${c_float(4)} ? ${c_float(0.01)} * (v - ${c_float(4)}) + ${c_float(1)} : ${c_float(0.125)} * v + ${c_float(0.5)});
% elif name == "stair":
    const ${T} whole = floor(v);
    const ${T} is_even = ${c_float(1)} - fabs(whole - ${c_float(2)} * floor(whole * ${c_float(0.5)}));
    return is_even > ${c_float(0.5)} ? floor(v * ${c_float(0.5)}) : (v - whole) + floor(v * ${c_float(0.5)});
% elif name == "lhtan":
    return v < ${c_float(0)} ? ${c_float(0.001)} * v : (v > ${c_float(1)} ? ${c_float(0.001)} * (v - ${c_float(1)}) + ${c_float(1)} : v);
% elif name == "swish":
    return v / (${c_float(1)} + exp(-v));
% elif name == "mish":
    return v * tanh(v > ${c_float(20)} ? v : log1p(exp(fmin(v, (${T})(${c_float(20)})))));
% elif name == "hard_mish":
    return v > ${c_float(0)} ? v : (v > ${c_float(-2)} ? v * v * ${c_float(0.5)} + v : (${T})(${c_float(0)}));
% elif name == "hard_sigmoid":
    return v < ${c_float(-3)} ? (${T})(${c_float(0)}) : (v > ${c_float(3)} ? (${T})(${c_float(1)}) : v * ${c_float(1 / 6)} + ${c_float(0.5)});
% elif name == "hard_swish":
    return v < ${c_float(-3)} ? (${T})(${c_float(0)}) : (v > ${c_float(3)} ? v : v * (v * ${c_float(1 / 6)} + ${c_float(0.5)}));
% elif name == "gelu_erf":
    return v * (${c_float(0.5)} + ${c_float(0.5)} * erf(v * ${c_float(0.5**0.5)}));
% else:
    unknown activation: ${name}
% endif
}
</%def>

## Where a convolution's results are added to a tensor `other` that lies like y: `added` is the activation of the sums, else
## empty. The kernel keeps y as it came in y_start.
<%def name="sum_functions()">
% if added:
% for width in (1, 2, 4, 8, 16):
${activation_function(added, width, f"activate_sum{width}")}
% endfor
% endif
</%def>

## The value to store at `pointer`: `value`, or what becomes of it where something is added.
<%def name="summed(width, value, pointer)" filter="trim" buffered="True">
% if added:
activate_sum${width}(${value} + ${vector_load(width, f"other + (({pointer}) - y_start)")})
% else:
${value}
% endif
</%def>

## Stores the first `count` lanes of a vector. Narrow vectors stay in registers; wide ones (CPU drivers) go through memory.
<%def name="partial_store_function(width)">
<% T = vector_type("float", width) %>
inline void store_first(${T} v, const int count, __global float *p)
{
% if width == 1:
    if (count > 0) *p = v;
% elif width <= 4:
% for lane in range(width):
    if (count > ${lane}) p[${lane}] = v.s${lane};
% endfor
% else:
    float lanes[${width}];
    vstore${width}(v, 0, lanes);
    for (int lane = 0; lane < ${width} && lane < count; lane++) p[lane] = lanes[lane];
% endif
}
</%def>
