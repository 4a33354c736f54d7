-- fragment: model_columns @postgres
m.*,
(SELECT json_agg(a.alias ORDER BY a.alias) FROM model_aliases AS a WHERE a.model_id = m.id AND a.enabled) AS aliases,
(
    SELECT json_agg(json_build_array(
        p.direction, p.modality, p.kind, p.unit, p.per, p.price::text, p.literal, p.currency, p.combine, p.condition,
        p.source_field, p.valid_from, p.valid_until, p.version, p.ended_version, p.origin
    ) ORDER BY p.id)
    FROM price_components AS p WHERE p.model_id = m.id
) AS prices

-- fragment: model_columns @sqlite
m.*,
(
    SELECT json_group_array(alias)
    FROM (SELECT a.alias FROM model_aliases AS a WHERE a.model_id = m.id AND a.enabled = 1 ORDER BY a.alias)
) AS aliases,
(
    SELECT json_group_array(json_array(
        direction, modality, kind, unit, per, price, literal, currency, combine, json(condition), source_field,
        valid_from, valid_until, version, ended_version, origin
    ))
    FROM (SELECT * FROM price_components AS p WHERE p.model_id = m.id ORDER BY p.id)
) AS prices

-- name: model_find_by_name [point]
-- One model with its aliases and prices, by its name, else by an enabled alias.
SELECT {model_columns} FROM models AS m WHERE m.id = coalesce(
    (SELECT n.id FROM models AS n WHERE n.name = :name),
    (SELECT a.model_id FROM model_aliases AS a WHERE a.alias = :name AND a.enabled = TRUE)
);

-- name: model_find_by_asked_names @postgres
-- As model_find_by_name, for many names at once; `asked` is the name or alias that a row answers.
SELECT q.asked, {model_columns} FROM unnest(CAST(:names AS text [])) AS q (asked)
JOIN models AS m ON m.id = coalesce(
    (SELECT n.id FROM models AS n WHERE n.name = q.asked),
    (SELECT a.model_id FROM model_aliases AS a WHERE a.alias = q.asked AND a.enabled)
);

-- name: model_find_by_asked_names @sqlite
-- As above; SQLite has no arrays, and takes them as JSON.
SELECT q.value AS asked, {model_columns} FROM json_each(:names) AS q
JOIN models AS m ON m.id = coalesce(
    (SELECT n.id FROM models AS n WHERE n.name = q.value),
    (SELECT a.model_id FROM model_aliases AS a WHERE a.alias = q.value AND a.enabled = TRUE)
);

-- name: model_find_by_id [point]
-- One model with its aliases and prices, by its id.
SELECT {model_columns} FROM models AS m WHERE m.id = :id;

-- name: model_find_by_names @postgres
-- The models of these names.
SELECT {model_columns} FROM models AS m WHERE m.name = ANY(:names);

-- name: model_find_by_names @sqlite
-- As above; SQLite has no arrays, and takes them as JSON.
SELECT {model_columns} FROM models AS m WHERE m.name IN (SELECT value FROM json_each(:names));

-- name: model_lock_by_names @postgres
-- Locks the models of these names until the transaction ends; in the order of their ids, so that two imports lock alike.
SELECT id FROM models WHERE name = ANY(:names) ORDER BY id FOR UPDATE;

-- name: model_lock_by_names @sqlite
-- As above: a write transaction of SQLite is alone, and needs no lock of rows.
SELECT id FROM models WHERE name IN (SELECT value FROM json_each(:names));

-- name: model_list_names_of_catalog
-- The names of the models that imports keep, but for those that have vanished from the catalog already.
SELECT name FROM models WHERE origin = 'catalog' AND vanished_at IS NULL;

-- name: model_mark_vanished @postgres
-- Marks models that the catalog no longer names. They go on working, and come back when it names them again.
UPDATE models SET vanished_at = :now, updated_at = :now WHERE name = ANY(:names) AND origin = 'catalog';

-- name: model_mark_vanished @sqlite
-- As above; SQLite has no arrays, and takes them as JSON.
UPDATE models SET vanished_at = :now, updated_at = :now
WHERE name IN (SELECT value FROM json_each(:names)) AND origin = 'catalog';

-- name: model_list
-- One page of models by name. `after` is the name of the last row of the page before.
SELECT {model_columns} FROM models AS m WHERE m.name > :after ORDER BY m.name LIMIT :limit OFFSET :offset;

-- name: model_list_by_provider
-- As model_list, of one LiteLLM provider.
SELECT {model_columns} FROM models AS m
WHERE m.litellm_provider = :litellm_provider AND m.name > :after ORDER BY m.name LIMIT :limit OFFSET :offset;

-- name: model_list_by_provider_id
-- As model_list, of one provider of ours.
SELECT {model_columns} FROM models AS m
WHERE m.provider_id = :provider_id AND m.name > :after ORDER BY m.name LIMIT :limit OFFSET :offset;

-- name: model_search_names @postgres
-- The names nearest to a text by their trigrams, straight from the index, for the ranking to choose from.
SELECT name FROM models ORDER BY name <->> :text LIMIT :limit;

-- name: model_search_names @sqlite
-- All names: SQLite's trigram index finds no misspelt word, and ranking a few thousand names takes milliseconds.
SELECT name FROM models;

-- name: model_insert
-- A new model; its prices follow in the same transaction.
INSERT INTO models (
    id, name, litellm_provider, provider_id, mode, max_tokens, max_input_tokens, max_output_tokens,
    supports_assistant_prefill, supports_audio_input, supports_audio_output, supports_computer_use,
    supports_function_calling, supports_image_input, supports_native_streaming, supports_parallel_function_calling,
    supports_pdf_input, supports_prompt_caching, supports_reasoning, supports_response_schema,
    supports_system_messages, supports_tool_choice, supports_url_context, supports_video_input, supports_vision,
    supports_web_search, deprecation_date, source, origin, vanished_at, metadata, created_at, updated_at
) VALUES (
    :id, :name, :litellm_provider, :provider_id, :mode, :max_tokens, :max_input_tokens, :max_output_tokens,
    :supports_assistant_prefill, :supports_audio_input, :supports_audio_output, :supports_computer_use,
    :supports_function_calling, :supports_image_input, :supports_native_streaming,
    :supports_parallel_function_calling, :supports_pdf_input, :supports_prompt_caching, :supports_reasoning,
    :supports_response_schema, :supports_system_messages, :supports_tool_choice, :supports_url_context,
    :supports_video_input, :supports_vision, :supports_web_search, :deprecation_date, :source, :origin, :vanished_at,
    :metadata, :now, :now
);

-- name: model_update
-- Everything but the prices and aliases.
UPDATE models SET
    name = :name, litellm_provider = :litellm_provider, provider_id = :provider_id, mode = :mode,
    max_tokens = :max_tokens, max_input_tokens = :max_input_tokens, max_output_tokens = :max_output_tokens,
    supports_assistant_prefill = :supports_assistant_prefill, supports_audio_input = :supports_audio_input,
    supports_audio_output = :supports_audio_output, supports_computer_use = :supports_computer_use,
    supports_function_calling = :supports_function_calling, supports_image_input = :supports_image_input,
    supports_native_streaming = :supports_native_streaming,
    supports_parallel_function_calling = :supports_parallel_function_calling,
    supports_pdf_input = :supports_pdf_input, supports_prompt_caching = :supports_prompt_caching,
    supports_reasoning = :supports_reasoning, supports_response_schema = :supports_response_schema,
    supports_system_messages = :supports_system_messages, supports_tool_choice = :supports_tool_choice,
    supports_url_context = :supports_url_context, supports_video_input = :supports_video_input,
    supports_vision = :supports_vision, supports_web_search = :supports_web_search,
    deprecation_date = :deprecation_date, source = :source, origin = :origin, vanished_at = :vanished_at,
    metadata = :metadata, updated_at = :now
WHERE id = :id;

-- name: model_touch
-- Marks a model as changed, and locks it until the transaction ends.
UPDATE models SET updated_at = :now WHERE id = :id RETURNING name;

-- name: model_list_ids @postgres
-- Which of these ids there are.
SELECT id FROM models WHERE id = ANY(:ids);

-- name: model_list_ids @sqlite
-- As above; SQLite has no arrays, and takes them as JSON.
SELECT id FROM models WHERE id IN (SELECT value FROM json_each(:ids));

-- name: model_delete
-- The model and, by their foreign keys, its prices and aliases; usage stays.
DELETE FROM models WHERE id = :id RETURNING name;
