## Shared pieces of the convolutions: where the positions of a work-item lie, and how their results are stored.
##
## A work-item holds `vectors` slots of `vector_width` positions, `group_n` slots apart: slot j of work-group n_group is
## slot number n_group * group_n * vectors + local_n + j * group_n. These pieces read the template's variables
## vector_width, vectors, group_n, mapping, stride, pooled.

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
    const int in${j * row_step} = x_origin + image${j} * x_image_stride + image_row${j} * ${stride * row_step} * x_pitch + column${j} * ${stride};
% if pooled:
    const int in${j * 2 + 1} = in${j * 2} + ${stride} * x_pitch;
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

## vector_width inputs at `pointer`, `stride` apart.
<%def name="load_positions(pointer)" filter="trim">
<% T = vector_type("float", vector_width) %>
% if stride == 1:
${vector_load(vector_width, pointer)}
% else:
(${T})(${", ".join(f"({pointer})[{lane * stride}]" for lane in range(vector_width))})
% endif
</%def>
