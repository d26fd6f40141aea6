## The read bandwidth of a device: sums of a buffer far larger than its caches.
##
## vector_width  lanes per load;  unroll: loads per turn;  group_n: work-items of a work-group
<% T = vector_type("float", vector_width) %>
__kernel ${work_group_attributes(group_n, 1, 1)}
void bandwidth(__global const float *restrict x, __global float *restrict y, const int turns)
{
    __global const float *p = x + (size_t)get_group_id(0) * turns * ${unroll * group_n * vector_width} + get_local_id(0) * ${vector_width};
% for u in range(unroll):
    ${T} sum${u} = (${T})(${c_float(0)});
% endfor
    for (int turn = 0; turn < turns; turn++) {
% for u in range(unroll):
        sum${u} += ${vector_load(vector_width, f"p + {u * group_n * vector_width}")};
% endfor
        p += ${unroll * group_n * vector_width};
    }
    ${vector_store(vector_width, " + ".join(f"sum{u}" for u in range(unroll)), f"y + get_global_id(0) * {vector_width}")}
}
