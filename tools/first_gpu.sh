#!/usr/bin/env bash
# First contact with a GPU: on a bare machine with Python 3.10 or later and a folder of wheels, without a network.
#
#   tools/first_gpu.sh [--out FOLDER] [--wheels FOLDER] [--device D] [--model M.cfg] [--scale F] [--only STEP,...]
#   tools/first_gpu.sh --download FOLDER     on a machine with a network and the same Python: fetch the wheels
#
# Steps: python (a virtual environment), install (from the wheels alone), driver (the OpenCL driver, or the library of one
# that no .icd file names, or NVIDIA's CUDA driver with the clang that lies packed among the wheels), conformance, tune and verify (VGG16-224, float32), precision (the same in TF32, where there is
# a matrix unit), bench (beside PyTorch with cuDNN, where that is among the wheels), export (the tuned tiles).
# Each has a time limit, which --scale multiplies, and a log that is written as it goes; none stops the others. The last
# lines say what came of each; the status is 1 where one failed.
set -u

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
out=$root/build/first-gpu wheels= device=${CLPRUNE_DEVICE:-} model=$root/models/vgg16.cfg scale=1 only=
stubs=${FIRST_GPU_STUBS:-} # a folder of programs that take the place of steps: for the test of this script

# Step and seconds; ten minutes in all where nothing hangs.
steps=(python:60 install:180 driver:30 conformance:180 tune:150 verify:60 precision:120 bench:420 export:20)
packages=(pytest scikit-learn)
# Of Debian 12 and Ubuntu 22.04 or 24.04, with what a bare machine lacks.
clang=(clang-15 libclang-cpp15 libclang-common-15-dev libllvm15 libclc-15 libedit2 libz3-4 libbsd0 libmd0)

die() { echo "first_gpu.sh: $*" >&2; exit 2; }

requirements() {
    "$1" - "$root/setup.cfg" <<'PYTHON'
import configparser, sys
config = configparser.ConfigParser()
config.read(sys.argv[1])
print(*config["options"]["install_requires"].split(), sep="\n")
PYTHON
}

find_python() {
    local name
    for name in "$out/venv/bin/python" python3 python3.13 python3.12 python3.11 python3.10 python; do
        if command -v "$name" >/dev/null && "$name" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
            command -v "$name"
            return 0
        fi
    done
    echo "no Python of 3.10 or later among python3, python3.10 to python3.13, python" >&2
    return 1
}

download() {
    local python
    python=$(find_python) || exit 2
    mkdir -p "$1" || exit 2
    # shellcheck disable=SC2046  # requirements hold no blanks
    "$python" -m pip download --dest "$1" pip $(requirements "$python") "${packages[@]}" || exit 1
    "$python" -m pip download --dest "$1" torch torchvision || echo "without PyTorch: the bench will time clprune alone"
    "$python" -m pip download --dest "$1" cuda-bindings && (cd "$1" && apt-get download "${clang[@]}") ||
        echo "without cuda-bindings, or packages of clang: NVIDIA's GPUs need an OpenCL driver"
    exit 0
}

while (($#)); do
    case $1 in
        --out | --wheels | --device | --model | --scale | --only | --download)
            (($# > 1)) || die "$1 without a value"
            if [[ $1 == --download ]]; then download "$2"; fi
            printf -v "${1#--}" %s "$2"
            shift 2 ;;
        -h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; exit 0 ;;
        *) die "unknown option $1: --help says what there is" ;;
    esac
done
[[ $scale =~ ^[0-9]+(\.[0-9]+)?$ ]] || die "--scale $scale: expected a number such as 2"
[[ -f $model ]] || die "--model $model: no such file"
for name in ${only//,/ }; do
    [[ " ${steps[*]} " == *" $name:"* ]] || die "--only $name: expected some of ${steps[*]%%:*}"
done
model=$(cd "$(dirname "$model")" && pwd)/$(basename "$model")
mkdir -p "$out/logs" || die "$out cannot be written: --out FOLDER"
out=$(cd "$out" && pwd)
if [[ -z $wheels ]]; then
    wheels=$here/wheels
    for folder in "$here/wheels" "$root/wheels"; do [[ -d $folder ]] && wheels=$folder && break; done
fi
[[ ! -d $wheels ]] || wheels=$(cd "$wheels" && pwd)

step_python() {
    local python
    python=$(find_python) || return 1
    "$python" --version
    [[ -x $out/venv/bin/python ]] && return 0
    # Debian's Python lacks ensurepip: pip then runs from its own wheel.
    "$python" -m venv "$out/venv" || "$python" -m venv --without-pip "$out/venv"
}

step_install() {
    local python=$out/venv/bin/python pip=() wheel
    [[ -d $wheels ]] || { echo "no folder $wheels: --wheels FOLDER, filled by --download FOLDER elsewhere"; return 1; }
    pip=("$python" -m pip)
    if ! "${pip[@]}" --version; then
        for wheel in "$wheels"/pip-*.whl; do pip=("$python" "$wheel/pip"); done
    fi
    # shellcheck disable=SC2046  # requirements hold no blanks
    "${pip[@]}" install --no-index --find-links "$wheels" $(requirements "$python") "${packages[@]}" || return 1
    # The checkout itself, as an editable installation has it.
    "$python" -c 'import sys, sysconfig; open(sysconfig.get_path("purelib") + "/clprune-checkout.pth", "w").write(sys.argv[1] + "\n")' "$root" || return 1
    if compgen -G "$wheels/cuda_bindings-*.whl" >/dev/null; then
        "${pip[@]}" install --no-index --find-links "$wheels" cuda-bindings || echo "cuda-bindings cannot be installed"
    fi
    compgen -G "$wheels/torch-*.whl" >/dev/null || { echo "no PyTorch among the wheels: the bench times clprune alone"; return 0; }
    "${pip[@]}" install --no-index --find-links "$wheels" torch torchvision || echo "PyTorch cannot be installed: the bench times clprune alone"
}

# The selector of the device that was asked for, else of the first GPU; fails where there is none. With an argument also
# where there is none but those of the CUDA driver: any OpenCL driver is tried before.
select_device() {
    "$python" - "$device" "${1:-}" <<'PYTHON'
import sys
from clprune.opencl import choose, devices
from clprune.errors import ClpruneError
try:
    gpus = [device for device in devices() if device.type == "gpu" and not device.is_software]
    gpus = [device for device in gpus if not (sys.argv[2] and device.platform_name == "CUDA driver")]
    found = choose(sys.argv[1]) if sys.argv[1] else gpus[0] if gpus else None
except ClpruneError as error:
    sys.exit(str(error))
if found is None:
    sys.exit("no driver shows a GPU")
print(found.selector, found.matrix_unit or "none", found.name, sep="\t")
PYTHON
}

# What compiles for the CUDA driver, where the machine has none of its own.
unpack_clang() {
    local package clang=$out/clang
    ! command -v clang-15 >/dev/null || return 0
    compgen -G "$wheels/libllvm15_*.deb" >/dev/null || { echo "no packages of clang in $wheels"; return 0; }
    for package in "$wheels"/*.deb; do dpkg -x "$package" "$clang" || return 0; done
    cat >>"$out/driver.env" <<ENVIRONMENT
export PATH=$clang/usr/bin:\$PATH
export LD_LIBRARY_PATH=$clang/usr/lib/llvm-15/lib:$clang/usr/lib/$(uname -m)-linux-gnu:\${LD_LIBRARY_PATH:-}
ENVIRONMENT
}

step_driver() {
    local library folder
    command -v nvidia-smi >/dev/null && nvidia-smi
    if ! select_device opencl >"$out/device.txt"; then
        mkdir -p "$out/icd"
        rm -f "$out/icd"/*.icd
        for library in libnvidia-opencl.so.1 libamdocl64.so libigdrcl.so libmali.so; do
            for folder in ${FIRST_GPU_LIBRARIES:-} /usr/lib/x86_64-linux-gnu /usr/lib/aarch64-linux-gnu /usr/lib64 /usr/lib \
                /usr/local/nvidia/lib64 /usr/lib/wsl/lib /opt/rocm*/lib /opt/rocm*/opencl/lib /usr/lib/*/intel-opencl; do
                [[ -e $folder/$library ]] && echo "$folder/$library" >"$out/icd/${library%%.*}.icd" && break
            done
        done
        if compgen -G "$out/icd/*.icd" >/dev/null; then
            echo "drivers that no .icd file names:"
            cat "$out/icd"/*.icd
            echo "export OCL_ICD_VENDORS=$out/icd" >"$out/driver.env"
        else
            echo "nor is there a library of NVIDIA's, AMD's, Intel's or Arm's OpenCL driver: NVIDIA's CUDA driver is tried"
            unpack_clang
        fi
        # shellcheck disable=SC1091
        . "$out/driver.env"
        select_device >"$out/device.txt" || return 1
    fi
    echo "export CLPRUNE_DEVICE=$(cut -f1 "$out/device.txt")" >>"$out/driver.env"
    cat "$out/device.txt"
    # shellcheck disable=SC1091
    . "$out/driver.env"
    "$python" -m clprune info
}

step_conformance() {
    [[ -n ${CLPRUNE_DEVICE:-} ]] || { echo "no device was found"; return 1; }
    CONFORMANCE_DEVICE=$CLPRUNE_DEVICE CONFORMANCE_RESULTS=$out/conformance.md \
        "$python" -m pytest -v -p no:cacheprovider tests/conformance -k "chosen"
}

step_tune() { "$python" -m clprune tune "$model" --budget "$(seconds 100)"; }

step_verify() { "$python" -m clprune verify "$model" --random-weights; }

step_precision() {
    if [[ $(cut -f2 "$out/device.txt" 2>/dev/null) == none ]]; then
        echo "the device has no matrix unit that is known"
        return 0
    fi
    "$python" -m clprune tune "$model" --precision tf32 --budget "$(seconds 60)" &&
        "$python" -m clprune verify "$model" --random-weights --precision tf32
}

step_bench() {
    local batch status=0
    # One batch after the other: what is done stays where the time runs out.
    for batch in 1 8 32; do
        "$python" -m tools.bench.gpu --device "${CLPRUNE_DEVICE:-}" --model "$model" --batch "$batch" --tune "$(seconds 30)" --out "$out/gpu.json" || status=1
    done
    return $status
}

step_export() { "$python" -m clprune db export "$out/tiles.json"; }

seconds() { awk -v s="$1" -v f="$scale" 'BEGIN { printf "%d", (s * f < 1) ? 1 : s * f }'; }

# Runs in a process of its own: `first_gpu.sh` calls itself for the step, so that a limit ends all of it.
run_step() {
    python=$out/venv/bin/python
    cd "$root" || return 1
    export PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PIP_DISABLE_PIP_VERSION_CHECK=1
    export CLPRUNE_DATA_DIR=$out/data CLPRUNE_CACHE_DIR=$out/cache
    mkdir -p "$CLPRUNE_DATA_DIR" "$CLPRUNE_CACHE_DIR"
    # shellcheck disable=SC1091
    [[ $1 == driver || ! -f $out/driver.env ]] || . "$out/driver.env"
    [[ $1 != driver ]] || : >"$out/driver.env"
    if [[ -n $stubs ]]; then "$stubs/$1"; else "step_$1"; fi
}

if [[ -n ${FIRST_GPU_STEP:-} ]]; then
    run_step "$FIRST_GPU_STEP"
    exit
fi

echo "results: $out"
printf '%-12s %-10s %8s  %s\n' step result seconds log >"$out/summary.txt"
failed=0
for entry in "${steps[@]}"; do
    name=${entry%%:*} limit=$(seconds "${entry#*:}") log=$out/logs/${entry%%:*}.log
    if [[ -n $only && ",$only," != *",$name,"* ]]; then continue; fi
    echo "== $name, at most $limit s: $log"
    begin=$SECONDS
    # To a file, not through a pipe: what outlives a step would keep that open.
    FIRST_GPU_STEP=$name timeout --kill-after=10 "$limit" bash "${BASH_SOURCE[0]}" --out "$out" --wheels "$wheels" \
        --device "$device" --model "$model" --scale "$scale" </dev/null >"$log" 2>&1
    status=$?
    tail -n 3 "$log"
    case $status in
        0) result=ok ;;
        124 | 137) result="time is up" failed=1 ;;
        *) result="failed ($status)" failed=1 ;;
    esac
    printf '%-12s %-10s %8d  %s\n' "$name" "$result" $((SECONDS - begin)) "${log#"$out"/}" | tee -a "$out/summary.txt"
done
echo
cat "$out/summary.txt"
exit $failed
