## Products of codes in 8 bits, packed into words, in exact 32-bit sums.

## dot_add(a, b, sum): sum and the products of the codes in the words a and b, 2 or 4 of them; `lanes`: how the lanes of a
## vector are called. `codes`, `pairs` and `plain` stand before it: where there are pair products, and elsewhere.
<%def name="dot_add_function(packed, lanes, codes='', pairs='', plain='')">
<% I = vector_type("int", vector_width) %>
% if packed == 2:
#ifdef HAS_PAIR_PRODUCTS
// The products of all 16-bit halves, then sums of neighbours: the form that compilers know as multiply-add of pairs.
${codes}
typedef short halves __attribute__((ext_vector_type(${2 * vector_width})));
typedef int products __attribute__((ext_vector_type(${2 * vector_width})));
${pairs}
inline ${I} dot_add(const ${I} a, const ${I} b, const ${I} sum)
{
    const products p = __builtin_convertvector(__builtin_astype(a, halves), products) * __builtin_convertvector(__builtin_astype(b, halves), products);
    return sum + (p.even + p.odd);
}
#else
${plain}
inline ${I} dot_add(const ${I} a, const ${I} b, const ${I} sum)
{
    return sum + (a << 16 >> 16) * (b << 16 >> 16) + (a >> 16) * (b >> 16);
}
#endif
% else:
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
</%def>
