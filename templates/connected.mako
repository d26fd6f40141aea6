## Shared pieces of the fully connected layers, whose work-groups have group_m lanes along rows and group_k along columns.
## They read the template's variables vector_width, vectors, group_m, group_k, tile_n, k_unroll.

## The row block of a work-group: `block` (of descriptor, kept and list), its first image, and its lane's `first` weight.
<%def name="row_block()">
    const int block = get_group_id(0);
    const int local_m = get_local_id(0), local_k = get_local_id(1);
    const int image = get_group_id(1) * ${tile_n};
    __global const int *descriptor = blocks + block * 6;
    const int kept = descriptor[1];
    __global const int *list = offsets + descriptor[0];
    const size_t first = (size_t)descriptor[2] + local_m * ${vector_width};
</%def>

## All turns from local_k to `end`, of which `turns(count)` makes some, one behind the other.
<%def name="loop(turns, end)">
    int k = local_k;
% if k_unroll > 1:
    for (; k + ${(k_unroll - 1) * group_k} < ${end}; k += ${k_unroll * group_k}) {
        ${turns(k_unroll)}
    }
% endif
    for (; k < ${end}; k += ${group_k}) {
        ${turns(1)}
    }
</%def>

## Adds up the sums `name`<image>_<slot> of the work-items along group_k; only the first of them goes on.
<%def name="add_partial_sums(name, type)">
% if group_k > 1:
    __local ${type} partial[${group_k * tile_n * vectors * group_m}];
% for n in range(tile_n):
% for j in range(vectors):
    partial[((local_k * ${tile_n} + ${n}) * ${vectors} + ${j}) * ${group_m} + local_m] = ${name}${n}_${j};
% endfor
% endfor
    barrier(CLK_LOCAL_MEM_FENCE);
    if (local_k != 0) return;
    for (int other = 1; other < ${group_k}; other++) {
% for n in range(tile_n):
% for j in range(vectors):
        ${name}${n}_${j} += partial[((other * ${tile_n} + ${n}) * ${vectors} + ${j}) * ${group_m} + local_m];
% endfor
% endfor
    }
% endif
</%def>

## Stores `value(n, j)`, an expression of image n, slot j, scale and b; scales are read where `is_scaled`.
<%def name="store(value, is_scaled)">
<%
    T, tile_m = vector_type("float", vector_width), group_m * vectors * vector_width
    lanes = [""] if vector_width == 1 else [".s" + "0123456789abcdef"[lane] for lane in range(vector_width)]
%>
% for j in range(vectors):
    {
        const int row = local_m * ${vector_width} + ${j * group_m * vector_width};
        const int count = descriptor[4] - row;
        const ${T} b = ${vector_load(vector_width, f"bias + block * {tile_m} + row")};
% if is_scaled:
        const ${T} scale = ${vector_load(vector_width, f"scales + block * {tile_m} + row")};
% endif
% for n in range(tile_n):
        if (image + ${n} < batch) {
            const ${T} v = activate(${value(n, j)});
            __global float *out = y + y_origin + (size_t)(image + ${n}) * y_image_stride + (size_t)(descriptor[3] + row) * y_channel_stride;
            if (y_channel_stride == 1 && count >= ${vector_width}) { ${vector_store(vector_width, "v", "out")} }
            else if (y_channel_stride == 1) store_first(v, count, out);
            else {
% for number, lane in enumerate(lanes):
                if (count > ${number}) out[(size_t)${number} * y_channel_stride] = v${lane};
% endfor
            }
        }
% endfor
    }
% endfor
</%def>
