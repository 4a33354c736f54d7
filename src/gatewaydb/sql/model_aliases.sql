-- fragment: model_alias_columns @postgres
a.id, a.alias, a.model_id, a.enabled, a.created_at, a.updated_at,
(SELECT json_agg(json_build_array(t.key, t.value)) FROM model_alias_tags AS t WHERE t.model_alias_id = a.id) AS tags

-- fragment: model_alias_columns @sqlite
a.id, a.alias, a.model_id, a.enabled, a.created_at, a.updated_at,
(SELECT json_group_array(json_array(t.key, t.value)) FROM model_alias_tags AS t WHERE t.model_alias_id = a.id) AS tags

-- name: model_alias_find_by_alias [point]
-- One alias with its tags, by its name.
SELECT {model_alias_columns} FROM model_aliases AS a WHERE a.alias = :alias;

-- name: model_alias_find_by_id [point]
-- One alias with its tags, by its id.
SELECT {model_alias_columns} FROM model_aliases AS a WHERE a.id = :id;

-- name: model_alias_list
-- One page of aliases by name. `after` is the name of the last row of the page before.
SELECT {model_alias_columns} FROM model_aliases AS a WHERE a.alias > :after ORDER BY a.alias LIMIT :limit OFFSET :offset;

-- name: model_alias_list_enabled
-- As model_alias_list, only those that are enabled; it has an index of its own.
SELECT {model_alias_columns} FROM model_aliases AS a
WHERE a.enabled = TRUE AND a.alias > :after ORDER BY a.alias LIMIT :limit OFFSET :offset;

-- name: model_alias_insert
-- A new alias; its tags follow in the same transaction.
INSERT INTO model_aliases (id, alias, model_id, enabled, created_at, updated_at)
VALUES (:id, :alias, :model_id, :enabled, :now, :now);

-- name: model_alias_lock @postgres [point]
-- What an alias says until this transaction changes it; the row stays locked.
SELECT alias, model_id FROM model_aliases WHERE id = :id FOR UPDATE;

-- name: model_alias_lock @sqlite [point]
-- As above: a write transaction of SQLite is alone, and needs no lock of rows.
SELECT alias, model_id FROM model_aliases WHERE id = :id;

-- name: model_alias_update
-- Everything but the tags, which have statements of their own.
UPDATE model_aliases AS a SET alias = :alias, model_id = :model_id, enabled = :enabled, updated_at = :now
WHERE a.id = :id;

-- name: model_alias_touch
-- Marks an alias as changed.
UPDATE model_aliases SET updated_at = :now WHERE id = :id RETURNING id;

-- name: model_alias_delete
-- The alias and, by their foreign key, its tags.
DELETE FROM model_aliases WHERE id = :id RETURNING alias, model_id;

-- name: model_alias_tag_set
-- One tag, new or changed.
INSERT INTO model_alias_tags (model_alias_id, key, value) VALUES (:model_alias_id, :key, :value)
ON CONFLICT (model_alias_id, key) DO UPDATE SET value = excluded.value;

-- name: model_alias_tag_delete
-- One tag; none is no error.
DELETE FROM model_alias_tags WHERE model_alias_id = :model_alias_id AND key = :key;
