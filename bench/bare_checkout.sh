# To be sourced from the checkout's folder: lets $python import tpvideo where it is not installed and
# there is perhaps no index to ask, from links in the folder $1 and from wheels in carry/.
python=${PYTHON:-python3}
if ! "$python" -c 'import tpvideo' 2>/dev/null; then
    mkdir -p "$1/path/tpvideo" "$1/path/tpvideo-0.dist-info"
    for part in pipeline stages weights pipeline/_root/__init__.py pipeline/_root/__main__.py; do
        ln -sfn "$PWD/$part" "$1/path/tpvideo/$(basename "$part")"
    done
    printf 'Metadata-Version: 2.1\nName: tpvideo\nVersion: %s\n' \
        "$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)" >"$1/path/tpvideo-0.dist-info/METADATA"
    for wheel in carry/*.whl; do
        [ ! -e "$wheel" ] || "$python" -m pip install -q --no-index --no-deps --target "$1/path" "$wheel"
    done
    export PYTHONPATH="$(cd "$1" && pwd)/path"
fi
