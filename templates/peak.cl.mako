## The arithmetic limit of a device: chains of independent fused multiply-adds in registers, nothing else.
##
## vector_width  lanes per vector;  chains: independent vectors per work-item;  group_n: work-items of a work-group
<%namespace name="common" file="common.mako"/>
<% T = vector_type("float", vector_width) %>
${common.multiply_add_macro()}
__kernel ${work_group_attributes(group_n, 1, 1)}
void peak(__global float *restrict y, const int turns, const float factor)
{
    const ${T} b = (${T})(factor);
% for c in range(chains):
    ${T} a${c} = (${T})((float)(get_global_id(0) + ${c}));
% endfor
    for (int turn = 0; turn < turns; turn++) {
% for c in range(chains):
        a${c} = MULTIPLY_ADD(a${c}, b, b);
% endfor
    }
    ${vector_store(vector_width, " + ".join(f"a{c}" for c in range(chains)), f"y + get_global_id(0) * {vector_width}")}
}
