## Shared pieces of the Winograd kernels: where tiles lie, the input transform and the output transform.
##
##   V = B^T d B    one tile d [alpha, alpha] of one input channel
##   Y = A^T M A    one tile of products M [alpha, alpha] of one output channel, then bias, activation, pooling
##
## A lane of a vector is one tile. A *segment* is a run of `columns` tiles side by side in one row of tiles of one image;
## a *strip* is the `segments` = vector_width / columns segments that make one vector: they are numbered row by row, image
## by image, and may lie apart. So narrow images fill whole vectors.
##
## Loads are whole runs of `output_tile * columns` values; lanes come out of them by taking even and odd elements apart,
## and go back by interleaving.
##
## Partial tiles at the right border read into the next row: those elements count as zeros (partial_columns). At the
## bottom the last padded row is read again (partial_rows). Neither reaches an output that exists.

<%namespace name="common" file="common.mako"/>
## Moves of lanes: EVEN, ODD take the even or odd lanes of two vectors, one after the other; MIX_LOW, MIX_HIGH the lanes of
## their lower or upper halves in turns; LOAD_PARTS makes a vector of short runs; WHOLE says whether
## a segment is stored as runs of lanes. Where the device is no real CPU (those have HAS_CPU_PREFETCH) lanes are moved by
## shuffle2, and parts of vectors through memory: put together they become shuffles with undefined lanes, over which
## Oclgrind's check for uninitialized values (21.10) ends the process.
<%def name="shuffle_macros()">
% if vector_width > 1:
<%
    T, half = vector_type("float", vector_width), vector_width // 2
    moves = {"EVEN": range(0, 2 * vector_width, 2), "ODD": range(1, 2 * vector_width, 2)}
    for name, first in (("MIX_LOW", 0), ("MIX_HIGH", half)):
        moves[name] = [lane + part for lane in range(first, first + half) for part in (0, vector_width)]
    names = {"EVEN": "(a).even, (b).even", "ODD": "(a).odd, (b).odd"}
    for name in ("MIX_LOW", "MIX_HIGH"):
        names[name] = ", ".join(f"({'ab'[lane // vector_width]}).s{lane % vector_width:x}" for lane in moves[name])
    length = output_tile * columns
    pointers = [f"p{n}" for n in range(vector_width // length)] if length < vector_width else []
    stored = length // (2 if pooled else 1)
    has_parts = stored < vector_width
%>
#ifdef HAS_CPU_PREFETCH
% for name, lanes in names.items():
#define ${name}(a, b) ((${T})(${lanes}))
% endfor
% if pointers:
#define LOAD_PARTS(${", ".join(pointers)}) ((${T})(${", ".join(vector_load(length, p) for p in pointers)}))
% endif
#define WHOLE(is) (is)
#else
% for name, lanes in moves.items():
#define ${name}(a, b) shuffle2(a, b, (${vector_type("uint", vector_width)})(${", ".join(map(str, lanes))}))
% endfor
% if pointers:
#define LOAD_PARTS(${", ".join(pointers)}) ((${T})(${", ".join(f"({p})[{k}]" for p in pointers for k in range(length))}))
% endif
#define WHOLE(is) ${"false" if has_parts else "(is)"}
#endif
% endif
</%def>

## Declares, for the strip that begins at `first_segment`, the corner of every segment in x.
<%def name="input_corners()">
% for g in range(segments):
    const int segment${g} = min(first_segment + ${g}, segment_count - 1);
    const int tile_row${g} = segment${g} / segments_per_row;
    const int column${g} = (segment${g} - tile_row${g} * segments_per_row) * ${output_tile * columns};
    const int image${g} = tile_row${g} / tile_rows;
    const int row${g} = (tile_row${g} - image${g} * tile_rows) * ${output_tile};
    const int corner${g} = x_start + image${g} * x_image_stride + column${g};
% for r in range(input_tile):
% if partial_rows:
    const int line${g}_${r} = corner${g} + min(row${g} + ${r}, last_row) * x_pitch;
% else:
    const int line${g}_${r} = corner${g} + (row${g} + ${r}) * x_pitch;
% endif
% endfor
% endfor
% if partial_columns:
<%
    starts = ", ".join(f"column{lane // columns} + {lane % columns * output_tile}" for lane in range(vector_width))
%>
    const ${vector_type("int", vector_width)} left = padded_width - (${vector_type("int", vector_width)})(${starts});
% endif
</%def>

## Brings what the strip reads `prefetch` channels behind the one at `channel` into cache.
<%def name="prefetch_channel(channel)">
% for g in range(segments):
% for r in range(input_tile):
% for first in range(0, output_tile * columns + 2, 16):
    PREFETCH(${channel} + ${prefetch} * x_channel_stride + line${g}_${r} + ${first});
% endfor
% endfor
% endfor
</%def>

## Transforms the tiles of a strip in the channel at `channel`; `store(xi, value)` prints what becomes of V_xi.
<%def name="input_transform(channel, store)">
<%
    T = vector_type("float", vector_width)
    length = output_tile * columns

    def raw(r, index, shift):
        """Vector number `index` of those that hold the strip's elements of row r, from element `shift` of a tile on."""
        if length >= vector_width:
            g, piece = divmod(index * vector_width, length)
            return vector_load(vector_width, f"{channel} + line{g}_{r} + {piece + shift}")
        count = vector_width // length
        parts = [f"{channel} + line{index * count + n}_{r} + {shift}" for n in range(count)]
        return f"LOAD_PARTS({', '.join(parts)})"

    def streams(names, wanted, declare):
        """Names of the vectors that hold element 0, 1, ... `wanted` - 1 of every tile."""
        if len(names) == 1:
            return names
        pairs = list(zip(names[::2], names[1::2]))
        even = [declare(f"EVEN({a}, {b})") for a, b in pairs]
        odd = [declare(f"ODD({a}, {b})") for a, b in pairs] if wanted > 1 else []
        even, odd = streams(even, (wanted + 1) // 2, declare), streams(odd, wanted // 2, declare) if odd else []
        return [name for pair in zip(even, odd) for name in pair] if odd else even
%>
% for r in range(input_tile):
<%
    lines = []

    def declare(expression):
        name = f"s{r}_{len(lines)}"
        lines.append(f"const {T} {name} = {expression};")
        return name

    if vector_width == 1:
        elements = [declare(f"*({channel} + line0_{r} + {k})") for k in range(input_tile)]
    else:
        elements = streams([declare(raw(r, n, 0)) for n in range(output_tile)], output_tile, declare)[:output_tile]
        shifted = [declare(raw(r, n, output_tile)) for n in range(output_tile)]
        elements = elements + streams(shifted, 2, declare)[:2]
    if partial_columns:
        zero = f"({T})({c_float(0)})"
        for k in range(3, input_tile):
            elements[k] = declare(f"left > {k} ? {elements[k]} : {zero}")
    lines += combine(BT, elements, [f"t{r}_{j}" for j in range(input_tile)], vector=T, prefix=f"b{r}_")
%>
% for line in lines:
    ${line}
% endfor
% endfor
% for j in range(input_tile):
% for line in combine(BT, [f"t{r}_{j}" for r in range(input_tile)], [f"v{i}_{j}" for i in range(input_tile)], vector=T, prefix=f"c{j}_"):
    ${line}
% endfor
% for i in range(input_tile):
    ${store(i * input_tile + j, f"v{i}_{j}")}
% endfor
% endfor
</%def>

## Declares, for the strip that begins at `first_segment`, where its outputs lie and how many there are.
<%def name="output_corners()">
<% step = 2 if pooled else 1 %>
% for g in range(segments):
    const int segment${g} = min(first_segment + ${g}, segment_count - 1);
    const int tile_row${g} = segment${g} / segments_per_row;
    const int column${g} = (segment${g} - tile_row${g} * segments_per_row) * ${output_tile * columns // step};
    const int image${g} = tile_row${g} / tile_rows;
    const int row${g} = (tile_row${g} - image${g} * tile_rows) * ${output_tile // step};
    const int out${g} = y_origin + image${g} * y_image_stride + row${g} * y_pitch + column${g};
    const int width${g} = first_segment + ${g} < segment_count ? min(out_width - column${g}, ${output_tile * columns // step}) : 0;
    const int height${g} = min(out_height - row${g}, ${output_tile // step});
% if vector_width > 1:
    const bool is_whole${g} = WHOLE(width${g} == ${output_tile * columns // step} && height${g} == ${output_tile // step});
% endif
% endfor
% if vector_width > 1:
    const bool is_whole = ${" && ".join(f"is_whole{g}" for g in range(segments))};
% endif
</%def>

## Brings the lines that the strip writes `prefetch` channels behind the one at `plane`, before they are written.
<%def name="prefetch_plane(plane)">
<% step = 2 if pooled else 1 %>
% for g in range(segments):
% for r in range(output_tile // step):
% for first in sorted({*range(0, output_tile * columns // step, 16), output_tile * columns // step - 1}):
    PREFETCH_FOR_WRITING(${plane} + ${prefetch} * y_channel_stride + out${g} + ${r} * y_pitch + ${first});
% endfor
% endfor
% endfor
</%def>

## Transforms products back and stores them in the plane at `plane`; `load(xi)` is the expression of M_xi.
<%def name="output_transform(plane, load)">
<%
    T = vector_type("float", vector_width)
    step = 2 if pooled else 1
    side = output_tile // step
    length = side * columns
    alpha, lines = input_tile, []

    def declare(expression, name=None):
        name = name or f"z{len(lines)}"
        lines.append(f"const {T} {name} = {expression};")
        return name

    def interleaved(streams):
        """Vectors whose elements follow each other as in memory, from one vector per column of a tile."""
        if len(streams) == 1 or vector_width == 1:
            return streams
        even, odd = interleaved(streams[::2]), interleaved(streams[1::2])
        return [declare(f"{part}({a}, {b})") for a, b in zip(even, odd) for part in ("MIX_LOW", "MIX_HIGH")]

    def larger(a, b):
        return declare(f"{a} > {b} ? {a} : {b}")

    for j in range(alpha):
        loaded = [declare(load(i * alpha + j), f"e{i}_{j}") for i in range(alpha)]
        lines += combine(AT, loaded, [f"a{r}_{j}" for r in range(output_tile)], vector=T, prefix=f"f{j}_")
    rows = []
    for r in range(output_tile):
        names = [f"q{r}_{k}" for k in range(output_tile)]
        lines += combine(AT, [f"a{r}_{j}" for j in range(alpha)], names, vector=T, prefix=f"g{r}_")
        rows.append([declare(f"activate({name} + bias_value)") for name in names])
    if pooled:
        rows = [[larger(a, b) for a, b in zip(*rows[r : r + 2])] for r in range(0, output_tile, 2)]
        rows = [[larger(*row[k : k + 2]) for k in range(0, output_tile, 2)] for row in rows]
    stored = [interleaved(row) for row in rows]

    def pieces(vectors):
        """(segment, offset, width, value) of each store of a whole row of outputs."""
        for index, name in enumerate(vectors):
            if length >= vector_width:
                g, piece = divmod(index * vector_width, length)
                yield g, piece, vector_width, name
            else:
                for n in range(vector_width // length):
                    lanes = "".join(f"{lane:x}" for lane in range(n * length, (n + 1) * length))
                    yield index * (vector_width // length) + n, 0, length, f"{name}.s{lanes}"
%>
% for line in lines:
    ${line}
% endfor
% if vector_width == 1:
% if added:
    ## One place in both tensors: two addresses per output take registers that GPUs then spill.
    const size_t corner = ${plane} - y_start + out0;
% endif
% for r, row in enumerate(stored):
% for k, name in enumerate(row):
% if added:
    if (${r} < height0 && ${k} < width0) y_start[corner + ${r} * y_pitch + ${k}] = activate_sum1(${name} + other[corner + ${r} * y_pitch + ${k}]);
% else:
    if (${r} < height0 && ${k} < width0) ${plane}[out0 + ${r} * y_pitch + ${k}] = ${name};
% endif
% endfor
% endfor
% else:
% for g in range(segments):
    if (is_whole${g}) {
% for r, vectors in enumerate(stored):
% for piece, width, value in (rest for h, *rest in pieces(vectors) if h == g):
        ${vector_store(width, common.summed(width, value, f"{plane} + out{g} + {r} * y_pitch + {piece}"), f"{plane} + out{g} + {r} * y_pitch + {piece}")}
% endfor
% endfor
    }
% endfor
    if (!is_whole) {
        float ends[${side * side * vector_width}];
        ## Loops: code that rarely runs should not take long to compile.
% for r, vectors in enumerate(stored):
% for index, name in enumerate(vectors):
        ${vector_store(vector_width, name, f"ends + {(r * side + index) * vector_width}")}
% endfor
% endfor
% for name in ("out", "width", "height"):
        const int ${name}s[${segments}] = {${", ".join(f"{name}{g}" for g in range(segments))}};
% endfor
        for (int g = 0; g < ${segments}; g++) {
            if (WHOLE(widths[g] == ${length} && heights[g] == ${side})) continue;
            for (int r = 0; r < heights[g]; r++)
                for (int k = 0; k < widths[g]; k += ${side}) {
                    const float *from = ends + r * ${side * vector_width} + g * ${length} + k;
                    __global float *to = ${plane} + outs[g] + r * y_pitch + k;
                    if (k + ${side} <= widths[g]) { ${vector_store(side, common.summed(side, vector_load(side, "from"), "to"), "to")} }
                    else for (int i = 0; i < widths[g] - k; i++) to[i] = ${common.summed(1, "from[i]", "to + i")};
                }
        }
    }
% endif
</%def>

## Adds one kept channel to the accumulators c<row>_<vector>: its weights at `u`, its offset in V. `ahead`: weights by which
## to run ahead in the list at `u` (0: not at all).
<%def name="add_channel(u, offset, ahead=0)">
<% T = vector_type("float", vector_width) %>
    __global const float *p = v + ${offset};
% if ahead:
    PREFETCH(${u} + ${ahead});
% endif
% for n in range(vectors):
    const ${T} b${n} = ${vector_load(vector_width, f"p + {n * group_n * vector_width}")};
% endfor
% for i in range(tile_m):
    { const ${T} a = (${T})(${u}[${i}]);
% for n in range(vectors):
    c${i}_${n} = MULTIPLY_ADD(a, b${n}, c${i}_${n});
% endfor
    }
% endfor
</%def>
