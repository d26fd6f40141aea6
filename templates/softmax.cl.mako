## Softmax over consecutive groups of a contiguous NCHW tensor, the maximum subtracted first.
##
##   y[i] = exp((x[i] - max) / temperature) / sum_j exp((x[j] - max) / temperature)
##
## Layout   x, y: groups of `length` consecutive values; one work-group per group
## group_n  work-items that share a group's values; they meet in local memory
<%
    steps = [group_n >> shift for shift in range(1, group_n.bit_length())]
%>
<%def name="reduce(operation)">
    scratch[item] = value;
    barrier(CLK_LOCAL_MEM_FENCE);
% for step in steps:
    if (item < ${step}) scratch[item] = ${operation};
    barrier(CLK_LOCAL_MEM_FENCE);
<% operation = operation.replace(f"item + {step}]", f"item + {step // 2}]") %>
% endfor
    value = scratch[0];
    barrier(CLK_LOCAL_MEM_FENCE);
</%def>
__kernel ${work_group_attributes(group_n, 1, 1)}
void softmax(__global const float *restrict x, __global float *restrict y, const int length, const float scale)
{
    const int item = get_local_id(0);
    __global const float *in = x + (size_t)get_group_id(0) * length;
    __global float *out = y + (size_t)get_group_id(0) * length;
% if group_n > 1:
    __local float scratch[${group_n}];
% endif
    float value = -FLT_MAX;
    for (int i = item; i < length; i += ${group_n}) value = fmax(value, in[i]);
% if group_n > 1:
    ${reduce(f"fmax(scratch[item], scratch[item + {group_n // 2}])")}
% endif
    const float largest = value;
    value = ${c_float(0)};
    for (int i = item; i < length; i += ${group_n}) {
        const float e = exp((in[i] - largest) * scale);
        out[i] = e;
        value += e;
    }
% if group_n > 1:
    ${reduce(f"scratch[item] + scratch[item + {group_n // 2}]")}
% endif
    for (int i = item; i < length; i += ${group_n}) out[i] /= value;
}
