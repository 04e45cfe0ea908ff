#!/bin/sh
# One database and one role a service; nobody can read another's. Runs once, when the volume is new.
set -eu
for service in auth chat_agent conversation billing notification; do
    psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres \
        --set role="$service" --set password="$POSTGRES_PASSWORD" <<'SQL'
create role :"role" login password :'password';
create database :"role" owner :"role";
revoke all on database :"role" from public;
SQL
done
