"""Compile the GPU's march ahead of time, on any machine, and say what it takes of a multiprocessor.

    python bench/compile_march.py [--capability 90] [--json FILE]

Triton compiles to machine code without a GPU; so it can be known anywhere that the kernels build
for an H100 or H200 (compute capability 9.0). For the sizes of both models it prints registers of a
thread, bytes of its stack, where goes what finds no room in registers, and bytes of shared memory
of a program. It needs the extra `gpu-test`.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from tpvideo.stages.networks import gpu_march_kernel as kernels
from tpvideo.stages.networks.gpu_march import BLOCK, PRECISION, WARPS, digits
from tpvideo.stages.networks.triplane import EG3D_AXES, ORTHOGONAL_AXES

SIZES = {
    "default": {"channels": 16, "units": 32, "colours": 16, "axes": digits(ORTHOGONAL_AXES),
                "padded": 16},
    "ffhq512": {"channels": 32, "units": 64, "colours": 32, "axes": digits(EG3D_AXES),
                "padded": 64},
}  # fmt: skip
KERNELS = ("coarse_kernel", "further_kernel", "merged_kernel")
INTEGERS = {"rays", "samples", "extra", "side"}
NUMBERS = {"scale", "gain", "density_bias", "least_light", "least_share", "least_alpha"}
ALIGNED = [["tt.divisibility", 16]]
"""What torch's allocations are: addresses that 16 bytes can be read from at once."""


def compile_kernel(
    name: str, constants: dict[str, Any], capability: int, warps: int = WARPS
) -> dict[str, Any]:
    """Compile one kernel; what it takes."""
    kernel = getattr(kernels, name)
    wanted = {each.name: constants[each.name] for each in kernel.params if each.is_constexpr}
    types = {each.name: _type_of(each.name) for each in kernel.params if each.name not in wanted}
    pointers = [place for place, each in enumerate(kernel.params)
                if types.get(each.name) == "*fp32"]  # fmt: skip
    source = ASTSource(
        fn=kernel,
        signature=types | dict.fromkeys(wanted, "constexpr"),
        constexprs=wanted,
        attrs={(place,): ALIGNED for place in pointers},
    )
    options = {"num_warps": warps, "enable_fp_fusion": True}
    made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    code: bytes = made.asm["cubin"]
    return {"kernel": name, "code": len(code), "shared": made.metadata.shared, **resources(code)}


def _type_of(parameter: str) -> str:
    if parameter in INTEGERS:
        return "i32"
    return "fp32" if parameter in NUMBERS else "*fp32"


def resources(cubin: bytes) -> dict[str, int]:
    """Registers and bytes of stack of the kernel in a cubin."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [str(tool), "--dump-resource-usage", file.name]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = {key: re.search(rf"\b{key}:(\d+)", said) for key in ("REG", "STACK")}
    registers, stack = (0 if match is None else int(match[1]) for match in found.values())
    return {"registers": registers, "stack": stack}


def main() -> None:
    """Compile all kernels for both models."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--capability", type=int, default=90)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows = []
    print(f"{'model':9}{'kernel':16}{'code':>9}{'registers':>11}{'stack':>7}{'shared':>8}")
    for model, sizes in SIZES.items():
        constants = {**sizes, "precision": PRECISION, "block": BLOCK, "coloured": True}
        for name in KERNELS:
            row = {"model": model, **compile_kernel(name, constants, args.capability)}
            rows.append(row)
            print(f"{model:9}{name:16}{row['code']:9}{row['registers']:11}{row['stack']:7}"
                  f"{row['shared']:8}")  # fmt: skip
    if args.json:
        report = {"capability": args.capability, "triton": triton.__version__, "kernels": rows}
        args.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
