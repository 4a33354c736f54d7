-- fragment: price_component_columns
id AS number, model_id, direction, modality, kind, unit, per, price, literal, currency, combine, condition, source_field,
valid_from, valid_until, version, ended_version, origin

-- name: price_component_insert
-- One price of a model. Components keep the order in which they were inserted.
INSERT INTO price_components (
    model_id, direction, modality, kind, unit, per, price, literal, currency, combine, condition, source_field,
    valid_from, valid_until, version, ended_version, origin
) VALUES (
    :model_id, :direction, :modality, :kind, :unit, :per, :price, :literal, :currency, :combine, :condition,
    :source_field, :valid_from, :valid_until, :version, :ended_version, :origin
);

-- name: price_component_list_by_models @postgres
-- All prices of these models, past ones too, in the order in which they came.
SELECT {price_component_columns} FROM price_components WHERE model_id = ANY(:model_ids) ORDER BY id;

-- name: price_component_list_by_models @sqlite
-- As above; SQLite has no arrays, and takes them as JSON.
SELECT {price_component_columns} FROM price_components WHERE model_id IN (SELECT value FROM json_each(:model_ids)) ORDER BY id;

-- name: price_component_close
-- The end of a price: what was costed before keeps it.
UPDATE price_components SET valid_until = :now, ended_version = :version WHERE id = :id;
