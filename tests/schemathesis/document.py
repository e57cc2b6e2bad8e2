"""Is the document that the program prints valid OpenAPI 3.1, and does every example in it meet its schema?

Called by run.sh, with the path of the binary. Ends with 1 if not."""

import json
import subprocess
import sys
from collections.abc import Iterator

from jsonschema import Draft202012Validator, FormatChecker
from openapi_spec_validator import OpenAPIV31SpecValidator


def examples(node: object, where: str) -> Iterator[tuple[str, dict, object]]:
    """Every example of `node` with its schema and its place."""
    if isinstance(node, list):
        for index, element in enumerate(node):
            yield from examples(element, f"{where}/{index}")
    if not isinstance(node, dict):
        return
    schema = node.get("schema")
    if isinstance(schema, dict):
        named = node.get("examples", {})
        yield from ((f"{where}/examples/{name}", schema, example["value"]) for name, example in named.items())
        if "example" in node:
            yield f"{where}/example", schema, node["example"]
    elif isinstance(node.get("examples"), list):
        yield from ((f"{where}/examples", node, example) for example in node["examples"])
    for name, member in node.items():
        # What an example holds is no description.
        if name not in ("example", "examples"):
            yield from examples(member, f"{where}/{name}")


def main() -> None:
    text = subprocess.run([sys.argv[1], "openapi"], check=True, capture_output=True, text=True).stdout
    document = json.loads(text)
    faults = [f"{'/'.join(map(str, error.path))}: {error.message}" for error in OpenAPIV31SpecValidator(document).iter_errors()]
    count = 0
    for where, schema, example in examples(document, "#"):
        count += 1
        whole = schema | {"components": document["components"]}
        found = Draft202012Validator(whole, format_checker=FormatChecker()).iter_errors(example)
        faults += [f"{where}: {error.json_path}: {error.message}" for error in found]
    if count < 100:
        faults.append(f"only {count} examples were found")
    if faults:
        sys.exit("\n".join(faults))
    operations = sum(len(item.keys() - {"parameters"}) for item in document["paths"].values())
    print(f"the document is valid: {operations} operations, {count} examples")


main()
