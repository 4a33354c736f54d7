-- What changed under the values that processes cache, for those that did not change it themselves: one row for each
-- transaction and noun, whoever made the change. `keys` are hashes of API keys, or names, aliases and ids of models;
-- NULL stands for more than a message holds: perhaps all of them.
CREATE TABLE cache_changes (
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    noun text NOT NULL,
    keys text[],
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (xid, noun)
);

-- Adds the keys of one statement to the row of its transaction, unless it has them. Once that says "all", a setting of
-- the transaction, which a savepoint undoes with the row, keeps the triggers from being called: an import changes
-- thousands of prices.
CREATE FUNCTION cache_changes_add(changed_noun text, changed_keys text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    all_keys text[];
BEGIN
    INSERT INTO cache_changes AS c (noun, keys)
    VALUES (changed_noun, CASE WHEN cardinality(changed_keys) <= 100 THEN changed_keys END)
    ON CONFLICT (xid, noun) DO UPDATE
    SET keys = CASE WHEN cardinality(c.keys) + cardinality(excluded.keys) <= 100 THEN c.keys || excluded.keys END
    WHERE c.keys IS NOT NULL AND excluded.keys <@ c.keys IS NOT TRUE
    RETURNING keys INTO all_keys;
    IF FOUND AND all_keys IS NULL THEN
        PERFORM set_config('gatewaydb.all_' || changed_noun, 'on', true);
    END IF;
END
$$;

CREATE FUNCTION api_keys_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM changed) THEN
        PERFORM cache_changes_add('api_keys', (SELECT array_agg(DISTINCT key_hash) FROM changed));
    END IF;
    RETURN NULL;
END
$$;

-- Of a key that was deleted with its metadata nothing is found here: its own row has named it already.
CREATE FUNCTION api_key_metadata_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM changed) THEN
        PERFORM cache_changes_add('api_keys', array_agg(k.key_hash))
        FROM api_keys AS k WHERE k.id IN (SELECT c.api_key_id FROM changed AS c) HAVING count(*) > 0;
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION models_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM changed) THEN
        PERFORM cache_changes_add('models', (SELECT array_agg(name) || array_agg(id::text) FROM changed));
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION price_components_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM changed) THEN
        PERFORM cache_changes_add('models', (SELECT array_agg(DISTINCT model_id::text) FROM changed));
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION model_aliases_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM changed) THEN
        PERFORM cache_changes_add('models', (SELECT array_agg(alias) || array_agg(model_id::text) FROM changed));
    END IF;
    RETURN NULL;
END
$$;

-- The noun is the trigger's argument.
CREATE FUNCTION cache_changes_add_all() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM cache_changes_add(TG_ARGV[0], NULL);
    RETURN NULL;
END
$$;

-- An UPDATE counts twice, with the rows as they were and as they are: a key that got another hash, a model that was
-- renamed and an alias that names another model change under both.
DO $$
DECLARE
    noun text;
    tbl text;
BEGIN
    FOR tbl, noun IN VALUES
        ('api_keys', 'api_keys'), ('api_key_metadata', 'api_keys'),
        ('models', 'models'), ('price_components', 'models'), ('model_aliases', 'models')
    LOOP
        EXECUTE format(
            'CREATE TRIGGER %1$s_inserted AFTER INSERT ON %1$s REFERENCING NEW TABLE AS changed
                FOR EACH STATEMENT %3$s EXECUTE FUNCTION %1$s_changed();
            CREATE TRIGGER %1$s_updated_from AFTER UPDATE ON %1$s REFERENCING OLD TABLE AS changed
                FOR EACH STATEMENT %3$s EXECUTE FUNCTION %1$s_changed();
            CREATE TRIGGER %1$s_updated_to AFTER UPDATE ON %1$s REFERENCING NEW TABLE AS changed
                FOR EACH STATEMENT %3$s EXECUTE FUNCTION %1$s_changed();
            CREATE TRIGGER %1$s_deleted AFTER DELETE ON %1$s REFERENCING OLD TABLE AS changed
                FOR EACH STATEMENT %3$s EXECUTE FUNCTION %1$s_changed();
            CREATE TRIGGER %1$s_truncated AFTER TRUNCATE ON %1$s
                FOR EACH STATEMENT EXECUTE FUNCTION cache_changes_add_all(%2$L);',
            tbl, noun, format('WHEN (current_setting(%L, true) IS DISTINCT FROM ''on'')', 'gatewaydb.all_' || noun)
        );
    END LOOP;
END
$$;

-- Says at the commit what the transaction has changed, in one message: PostgreSQL sends equal messages of a transaction
-- once. A message has less than 8,000 bytes; keys that are longer than that become "all". The setting is the process that
-- has told its own caches already.
CREATE FUNCTION cache_changes_notify() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    message text;
BEGIN
    SELECT json_build_object(
        'xid', new.xid::text, 'origin', current_setting('gatewaydb.origin', true), 'at', max(changed_at),
        'changes', json_object_agg(noun, keys)
    )::text
    INTO message FROM (SELECT * FROM cache_changes WHERE xid = new.xid ORDER BY noun) AS c HAVING count(*) > 0;
    IF octet_length(message) >= 8000 THEN
        UPDATE cache_changes SET keys = NULL WHERE xid = new.xid AND keys IS NOT NULL;
    ELSE
        PERFORM pg_notify('gatewaydb_changes', message);
    END IF;
    RETURN NULL;
END
$$;

CREATE CONSTRAINT TRIGGER cache_changes_notify AFTER INSERT OR UPDATE ON cache_changes
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION cache_changes_notify();
