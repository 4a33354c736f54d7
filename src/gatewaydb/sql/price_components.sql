-- name: price_component_insert
-- One price of a model. Components keep the order in which they were inserted.
INSERT INTO price_components (
    model_id, direction, modality, kind, unit, per, price, literal, currency, combine, condition, source_field,
    valid_from, valid_until
) VALUES (
    :model_id, :direction, :modality, :kind, :unit, :per, :price, :literal, :currency, :combine, :condition,
    :source_field, :valid_from, :valid_until
);

-- name: price_component_delete_by_model
-- All prices of a model, to be replaced in the same transaction.
DELETE FROM price_components WHERE model_id = :model_id;
