#!/usr/bin/env bash
# Proves and measures CLSA on the GPU of this machine: `./check.sh`, `./check.sh --dry-run`, `./check.sh --help`.
# Needed here: a driver, python3 (3.11 or later) with PyTorch (whose packages bring the CUDA libraries) and torchvision, and nothing else.
set -euo pipefail
# Where pip's packages keep libcublas, libcudnn and the others, and where the driver's library may be.
libraries=$(python3 - <<'E2'
import glob, site, sys, sysconfig
if sys.version_info < (3, 11):
    sys.exit("check.sh needs Python 3.11 or later")
folders = {sysconfig.get_paths()["purelib"], *site.getsitepackages(), site.getusersitepackages()}
print(":".join(sorted(f for folder in folders for f in glob.glob(folder + "/nvidia/*/lib"))))
E2
)
for folder in /usr/local/nvidia/lib64 /usr/local/nvidia/lib /usr/lib/x86_64-linux-gnu; do
    [ -d "$folder" ] && libraries=$libraries:$folder
done
export LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
# Numbers of GPUs as nvidia-smi has them.
export CUDA_DEVICE_ORDER=PCI_BUS_ID
# NCCL gives a code for what has failed, and prints why where it is asked to.
export NCCL_DEBUG=${NCCL_DEBUG:-WARN}
exec python3 "$(dirname "$0")/check.py" "$@"
