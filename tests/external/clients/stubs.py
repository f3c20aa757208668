"""Python's messages and stubs of the contract, made from its proto files."""

import importlib
import pathlib
import sys
import types

from grpc_tools import protoc


def stubs(proto, folder):
    """One namespace with every message and stub, and SERVICES, the names of the services."""
    made = pathlib.Path(folder) / "stubs"
    made.mkdir(exist_ok=True)
    files = sorted(str(it.relative_to(proto)) for it in pathlib.Path(proto).rglob("*.proto"))
    well_known = str(importlib.resources.files("grpc_tools") / "_proto")
    flags = [f"-I{proto}", f"-I{well_known}", f"--python_out={made}", f"--grpc_python_out={made}"]
    assert protoc.main(["protoc", *flags, *files]) == 0
    sys.path.insert(0, str(made))
    all_names, services = {}, []
    for file in files:
        module = file.removesuffix(".proto").replace("/", ".")
        for suffix in ["_pb2", "_pb2_grpc"]:
            found = vars(importlib.import_module(module + suffix))
            all_names |= {name: it for name, it in found.items() if not name.startswith("_")}
            services += [name.removesuffix("Stub") for name in found if name.endswith("ServiceStub")]
    return types.SimpleNamespace(**all_names, SERVICES=services)
