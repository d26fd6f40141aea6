## Shared pieces of the convolutions: where the positions of a work-item lie, and how their results are stored.
##
## A work-item holds `vectors` slots of `vector_width` positions, `group_n` slots apart: slot j of work-group n_group is
## slot number n_group * group_n * vectors + local_n + j * group_n. These pieces read the template's variables
## vector_width, vectors, group_n, mapping, stride_y, stride_x, pooled; those for row blocks also tile_m, group_m, sweep, prefetch.

<%namespace name="common" file="common.mako"/>
## Arguments of a kernel that say where positions lie, after block counts of its own.
<%def name="position_parameters()" filter="trim">
          const int slot_count,
          const int positions,
          const int slots_per_row,
          const int out_width,
          const int rows_per_image,
          const int x_origin,
          const int x_pitch,
          const int x_image_stride,
          const int y_origin,
          const int y_pitch,
          const int y_image_stride,
          const int y_channel_stride
</%def>

## For slot j: is_slot<j>, where it is read (in<j>; of a pooled layer in<2j> and in<2j+1>), where it is written (out<j>),
## and how many values of it belong to the output (count<j>). Moves x to the first slot where mapping is "flat".
<%def name="positions()">
<% row_step = 2 if pooled else 1 %>
% if mapping == "flat":
    x += x_origin + first_slot * ${vector_width};
% endif
% for j in range(vectors):
    const bool is_slot${j} = first_slot + ${j * group_n} < slot_count;
% if mapping == "flat":
    const int position${j} = (first_slot + ${j * group_n}) * ${vector_width};
    const int count${j} = positions - position${j};
    const int in${j} = ${j * group_n * vector_width};
    const int out${j} = y_origin + position${j};
% else:
% if group_n > 1 or j == 0:
    const int slot${j} = min(first_slot + ${j * group_n}, slot_count - 1);
    const int row${j} = slot${j} / slots_per_row;
    const int column${j} = (slot${j} - row${j} * slots_per_row) * ${vector_width};
    const int image${j} = row${j} / rows_per_image;
    const int image_row${j} = row${j} - image${j} * rows_per_image;
% else:
    // The next slot by comparison: a division costs as much as a column of the inner loop.
    const bool is_next_row${j} = column${j - 1} + ${vector_width} >= out_width, is_next_image${j} = is_next_row${j} && image_row${j - 1} + 1 == rows_per_image;
    const int column${j} = is_slot${j} ? (is_next_row${j} ? 0 : column${j - 1} + ${vector_width}) : column${j - 1};
    const int image_row${j} = is_slot${j} ? (is_next_image${j} ? 0 : image_row${j - 1} + is_next_row${j}) : image_row${j - 1};
    const int image${j} = image${j - 1} + (is_slot${j} && is_next_image${j});
% endif
    const int count${j} = (out_width - column${j}) / ${row_step};
    const int in${j * row_step} = x_origin + image${j} * x_image_stride + image_row${j} * ${stride_y * row_step} * x_pitch + column${j} * ${stride_x};
% if pooled:
    const int in${j * 2 + 1} = in${j * 2} + ${stride_y} * x_pitch;
% endif
    const int out${j} = y_origin + image${j} * y_image_stride + image_row${j} * y_pitch + column${j} / ${row_step};
% endif
% endfor
</%def>

## The larger of two rows of positions, then of neighbouring columns: 2x2 max pooling of stride 2.
<%def name="pool_function()">
<% T, S = vector_type("float", vector_width), vector_type("float", vector_width // 2) %>
inline ${S} pool(const ${T} upper, const ${T} lower)
{
    const ${T} v = upper > lower ? upper : lower;
    return v.even > v.odd ? v.even : v.odd;
}
</%def>

## vector_width inputs of type `base` at `pointer`, `stride_x` apart.
<%def name="load_positions(pointer, base='float')" filter="trim">
<% T = vector_type(base, vector_width) %>
% if stride_x == 1:
${vector_load(vector_width, pointer)}
% else:
(${T})(${", ".join(f"({pointer})[{lane * stride_x}]" for lane in range(vector_width))})
% endif
</%def>

## Which row block and which slots a work-item has: `block` (of descriptor, kept and list), `is_block`, `first_slot`.
## Work-groups go through `sweep` blocks before the next positions (0: through all).
<%def name="work_group()">
    const int local_m = ${"get_local_id(1)" if group_m > 1 else "0"}, local_n = ${"get_local_id(0)" if group_n > 1 else "0"};
    const int m_groups = (block_count + ${group_m - 1}) / ${group_m}, group = get_group_id(0);
% if sweep == 0:
    const int n_group = group / m_groups, m_group = group - n_group * m_groups;
% else:
    const int n_groups = get_num_groups(0) / m_groups;
    const int first_m_group = group / (n_groups * ${sweep}) * ${sweep}, in_sweep = group - first_m_group * n_groups;
    const int height = min(${sweep}, m_groups - first_m_group);
    const int n_group = in_sweep / height, m_group = first_m_group + in_sweep - n_group * height;
% endif
    const int wanted_block = m_group * ${group_m} + local_m;
    const int block = min(wanted_block, block_count - 1);
    const bool is_block = wanted_block < block_count;
    const int first_slot = n_group * ${group_n * vectors} + local_n;
    __global const int *descriptor = blocks + block * 6;
    const int kept = descriptor[1];
    __global const int *list = offsets + descriptor[0];
</%def>

## Brings the output's lines before they are written, where `prefetch` asks for it.
<%def name="prefetch_output()">
% if prefetch:
% for j in range(vectors):
% for i in range(tile_m):
    PREFETCH_FOR_WRITING(y + (size_t)(descriptor[3] + ${i}) * y_channel_stride + out${j});
% if mapping != "flat" or j == vectors - 1:
    PREFETCH_FOR_WRITING(y + (size_t)(descriptor[3] + ${i}) * y_channel_stride + out${j} + ${vector_width // (2 if pooled else 1) - 1});
% endif
% endfor
% endfor
% endif
</%def>

## Stores the results c<row>_<part> of a row block, activated and, where `pooled`, pooled.
<%def name="store()">
    if (!is_block) return;
    const int block_rows = descriptor[4];
    __global float *out = y + (size_t)descriptor[3] * y_channel_stride;
<%
    T, I = vector_type("float", vector_width), vector_type("int", vector_width)
    store_width = vector_width // (2 if pooled else 1)

    def result(i, j):
        """What is stored for row i and slot j, as an expression."""
        if pooled:
            return f"pool(activate(c{i}_{2 * j}), activate(c{i}_{2 * j + 1}))"
        value = common.summed(store_width, f"activate(c{i}_{j})", f"out + (size_t){i} * y_channel_stride + out{j}")
        return f"as_{T}(as_{I}({value}) & keep{j})" if mapping == "flat" else value

    def guard(i):
        """Rows that are not there have no summand either."""
        return f"if ({i} < block_rows) " if added else ""
%>
% for j in range(vectors):
    if (is_slot${j}) {
% if mapping == "flat":
        const ${I} keep${j} = convert_${I}(${vector_load(vector_width, f"valid + position{j}")});
% endif
        if (count${j} >= ${store_width}) {
% for i in range(tile_m):
            if (${i} < block_rows) { ${vector_store(store_width, result(i, j), f"out + (size_t){i} * y_channel_stride + out{j}")} }
% endfor
        } else {
% if store_width <= 4:
% for i in range(tile_m):
            if (${i} < block_rows) store_first(${result(i, j)}, count${j}, out + (size_t)${i} * y_channel_stride + out${j});
% endfor
% else:
            float ends[${tile_m * store_width}];  // a loop: code that rarely runs should not take long to compile
% for i in range(tile_m):
            ${guard(i)}${vector_store(store_width, result(i, j), f"ends + {i * store_width}")}
% endfor
            for (int i = 0; i < block_rows; i++)
                for (int lane = 0; lane < count${j}; lane++)
                    out[(size_t)i * y_channel_stride + out${j} + lane] = ends[i * ${store_width} + lane];
% endif
        }
    }
% endfor
</%def>
