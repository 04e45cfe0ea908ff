"""Names in the OpenAPI documents are chosen: they are those of functions and types in generated clients."""

import re
from collections import Counter

from testkit.contract_documents import documents

OPERATION = re.compile(r"[a-z]+([A-Z][a-z0-9]*)*")
SCHEMA = re.compile(r"([A-Z][A-Za-z0-9]*)")


def openapi_documents(name):
    return {path.parts[-3]: one for path, one in documents().items() if path.name == name}


def operation_ids(document):
    operations = [operation for item in document["paths"].values() for operation in item.values()]
    return [operation["operationId"] for operation in operations]


def test_operations_and_schemas_are_named_as_functions_and_types_are():
    for name in ("openapi.json", "internal.openapi.json"):
        for service, document in openapi_documents(name).items():
            ids, schemas = operation_ids(document), document["components"]["schemas"]
            assert [one for one in ids if not OPERATION.fullmatch(one)] == [], service
            assert [one for one in schemas if not SCHEMA.fullmatch(one)] == [], service


def test_an_operation_has_its_name_alone_in_all_documents_of_clients():
    public = openapi_documents("openapi.json").values()
    names = Counter(name for document in public for name in operation_ids(document))
    assert len(names) > 100
    assert [name for name, number in names.items() if number > 1] == []


def test_an_operation_has_its_name_alone_in_a_document_of_services():
    for service, document in openapi_documents("internal.openapi.json").items():
        names = operation_ids(document)
        assert len(names) == len(set(names)), service
