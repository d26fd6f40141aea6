## Launches that follow each other, as one kernel for CPUs: between two of them no thread of the driver goes to sleep.
##
##   work-groups 0, 1, 2 ... are those of launch 0, then those of launch 1 ...
##   every work-item takes the next of them until there are none; first it waits until all work-groups of the launches
##   before theirs are done. It takes many at a time, as long as many of the launch are left: its share of half of them
##
## Who waits has taken nothing, and who has does not wait: so all is done, however many work-items a driver runs at once.
## Where the processor has other work than this, a thread may lose its core in the middle of that: who has waited long
## for it goes, and leaves its core to others; the work-item behind it in the queue tries anew.
##
## Layout   state[0] next work-group, state[line] work-groups done, state[2 * line] work-items that are through: zeros between
##          runs; buffer0, buffer1 ...: what the launches are given, each once, whatever it holds
##
## launches  each a mapping: function, which takes its place and `groups`, the work-groups along the dimensions,
##           before its own arguments; arguments: (type, number of a buffer, true) or (type, the value's bits, false)
## buffers   how many;  line: int elements of a cache line;  patience: turns of waiting;  units: compute units
##
## Source: guided self-scheduling (Polychronopoulos & Kuck, IEEE Trans. Computers 1987) of launch after launch; waiting for
## what has begun only, as in decoupled look-back (Merrill & Garland, NVR-2016-002).
<%
    counts = [x * y * z for x, y, z in (launch["groups"] for launch in launches)]
    firsts = [sum(counts[:number]) for number in range(len(counts))]

    def written(type, number, is_pointer):
        if is_pointer:
            return f"(__global {type} *)buffer{number}"
        return f"as_float({number}u)" if type == "float" else f"({type}){number}{'L' if 'long' in type else ''}"

    def place(launch):
        """The work-group's place along every dimension, from its number."""
        x, y, z = launch["groups"]
        return f"g % {x}u, {0 if y == 1 else f'g / {x}u % {y}u'}, {0 if z == 1 else f'g / {x * y}u'}"
%>
#if defined(__has_builtin)
#if __has_builtin(__builtin_ia32_pause)
#define PAUSE() __builtin_ia32_pause()
#endif
#endif
#ifndef PAUSE
#define PAUSE()
#endif
__kernel ${work_group_attributes(1, 1, 1)}
void chain(__global int *state,
           ${",\n           ".join(f"__global char *buffer{number}" for number in range(buffers))})
{
    volatile __global int *next = state, *done = state + ${line}, *through = state + ${2 * line};
    int ready = 0;  // so many work-groups are known to be done
    for (;;) {
        const int group = *next;
        if (group >= ${sum(counts)}) break;
        int begin = 0, end = ${counts[0]};  // of its launch
% for first, count in zip(firsts[1:], counts[1:]):
        if (group >= ${first}) { begin = ${first}; end = ${first + count}; }
% endfor
        if (ready < begin) {
            int patience = ${patience};
            while (*done < begin && patience-- > 0) PAUSE();
            ready = atomic_add(done, 0);
            if (ready < begin) break;
            mem_fence(CLK_GLOBAL_MEM_FENCE);
        }
        const int taken = max(1, (end - group) / ${2 * units});
        if (atomic_cmpxchg(next, group, group + taken) != group) continue;
        const uint first = group - begin, last = first + taken;
% for launch, first in zip(launches, firsts):
<% x, y, z = launch["groups"] %>
        ${"" if first == 0 else "else "}if (begin == ${first}) {
            for (uint g = first; g < last; g++)
                ${launch["function"]}((uint3)(${place(launch)}), (uint3)(${x}, ${y}, ${z}),
                    ${", ".join(written(*argument) for argument in launch["arguments"])});
        }
% endfor
        mem_fence(CLK_GLOBAL_MEM_FENCE);
        atomic_add(done, taken);
    }
    if (atomic_inc(through) == (int)get_num_groups(0) - 1) {
        *next = 0;
        *done = 0;
        *through = 0;
    }
}
