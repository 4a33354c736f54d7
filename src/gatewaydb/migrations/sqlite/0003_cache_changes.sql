-- What changed under the values that processes cache, for those that did not change it themselves: hashes of API keys, or
-- names, aliases and ids of models. Writes are one after another here, so ids are in the order of the commits and without
-- a gap. What a statement does about conflicts (INSERT OR IGNORE) would hold for its triggers, too: so nothing here can
-- conflict, and a key that changes again is named again.
CREATE TABLE cache_changes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    noun TEXT NOT NULL,
    key TEXT NOT NULL,
    changed_at REAL NOT NULL DEFAULT (julianday('now'))
) STRICT;

-- The last ten thousand are kept; who was away for longer forgets everything.
CREATE TRIGGER cache_changes_prune AFTER INSERT ON cache_changes
BEGIN
    DELETE FROM cache_changes WHERE id <= new.id - 10000;
END;

-- INSERT OR REPLACE calls no trigger for the row that it replaces.
CREATE TRIGGER api_keys_replaced BEFORE INSERT ON api_keys
BEGIN
    INSERT INTO cache_changes (noun, key) SELECT 'api_keys', key_hash FROM api_keys WHERE id = new.id;
END;

CREATE TRIGGER api_keys_inserted AFTER INSERT ON api_keys
BEGIN
    INSERT INTO cache_changes (noun, key) VALUES ('api_keys', new.key_hash);
END;

CREATE TRIGGER api_keys_updated AFTER UPDATE ON api_keys
BEGIN
    INSERT INTO cache_changes (noun, key) VALUES ('api_keys', new.key_hash);
    INSERT INTO cache_changes (noun, key) SELECT 'api_keys', old.key_hash WHERE old.key_hash <> new.key_hash;
END;

CREATE TRIGGER api_keys_deleted AFTER DELETE ON api_keys
BEGIN
    INSERT INTO cache_changes (noun, key) VALUES ('api_keys', old.key_hash);
END;

-- Of a key that is deleted with its metadata nothing is found here: its own row names it.
CREATE TRIGGER api_key_metadata_inserted AFTER INSERT ON api_key_metadata
BEGIN
    INSERT INTO cache_changes (noun, key) SELECT 'api_keys', key_hash FROM api_keys WHERE id = new.api_key_id;
END;

CREATE TRIGGER api_key_metadata_updated AFTER UPDATE ON api_key_metadata
BEGIN
    INSERT INTO cache_changes (noun, key)
    SELECT 'api_keys', key_hash FROM api_keys WHERE id IN (old.api_key_id, new.api_key_id);
END;

CREATE TRIGGER api_key_metadata_deleted AFTER DELETE ON api_key_metadata
BEGIN
    INSERT INTO cache_changes (noun, key) SELECT 'api_keys', key_hash FROM api_keys WHERE id = old.api_key_id;
END;

CREATE TRIGGER models_inserted AFTER INSERT ON models
BEGIN
    INSERT INTO cache_changes (noun, key) VALUES ('models', new.name), ('models', new.id);
END;

CREATE TRIGGER models_updated AFTER UPDATE ON models
BEGIN
    INSERT INTO cache_changes (noun, key) VALUES ('models', new.name), ('models', new.id);
    INSERT INTO cache_changes (noun, key)
    SELECT 'models', old.name WHERE old.name <> new.name UNION ALL SELECT 'models', old.id WHERE old.id <> new.id;
END;

CREATE TRIGGER models_deleted AFTER DELETE ON models
BEGIN
    INSERT INTO cache_changes (noun, key) VALUES ('models', old.name), ('models', old.id);
END;

CREATE TRIGGER price_components_replaced BEFORE INSERT ON price_components
BEGIN
    INSERT INTO cache_changes (noun, key) SELECT 'models', model_id FROM price_components WHERE id = new.id;
END;

CREATE TRIGGER price_components_inserted AFTER INSERT ON price_components
BEGIN
    INSERT INTO cache_changes (noun, key) VALUES ('models', new.model_id);
END;

CREATE TRIGGER price_components_updated AFTER UPDATE ON price_components
BEGIN
    INSERT INTO cache_changes (noun, key) VALUES ('models', new.model_id);
    INSERT INTO cache_changes (noun, key) SELECT 'models', old.model_id WHERE old.model_id <> new.model_id;
END;

CREATE TRIGGER price_components_deleted AFTER DELETE ON price_components
BEGIN
    INSERT INTO cache_changes (noun, key) VALUES ('models', old.model_id);
END;

CREATE TRIGGER model_aliases_replaced BEFORE INSERT ON model_aliases
BEGIN
    INSERT INTO cache_changes (noun, key)
    SELECT 'models', alias FROM model_aliases WHERE id = new.id
    UNION ALL SELECT 'models', model_id FROM model_aliases WHERE id = new.id OR alias = new.alias;
END;

CREATE TRIGGER model_aliases_inserted AFTER INSERT ON model_aliases
BEGIN
    INSERT INTO cache_changes (noun, key) VALUES ('models', new.alias), ('models', new.model_id);
END;

CREATE TRIGGER model_aliases_updated AFTER UPDATE ON model_aliases
BEGIN
    INSERT INTO cache_changes (noun, key) VALUES ('models', new.alias), ('models', new.model_id);
    INSERT INTO cache_changes (noun, key)
    SELECT 'models', old.alias WHERE old.alias <> new.alias
    UNION ALL SELECT 'models', old.model_id WHERE old.model_id <> new.model_id;
END;

CREATE TRIGGER model_aliases_deleted AFTER DELETE ON model_aliases
BEGIN
    INSERT INTO cache_changes (noun, key) VALUES ('models', old.alias), ('models', old.model_id);
END;
