// A SCIM server on SCIMMY, in memory: node server.mjs --port 0 --token TOKEN. Prints {"port": N} when it is ready.
//
// Ways of its own that scimpipe has to live with: `location` is relative, there is no ETag, a 401 has no SCIM error
// for some clients, and egress gets the parsed filter and has to apply it itself (filter.match).
import crypto from "node:crypto";
import express from "express";
import SCIMMY from "scimmy";
import SCIMMYRouters from "scimmy-routers";

const option = (name, fallback) => {
    const at = process.argv.indexOf(`--${name}`);
    return at < 0 ? fallback : process.argv[at + 1];
};
const token = option("token", "token");
const users = new Map();
const requests = [];

SCIMMY.Config.set({ patch: true, filter: { supported: true, maxResults: 200 }, etag: false, bulk: false });

const taken = (id, userName) =>
    [...users.values()].some((user) => user.id !== id && user.userName?.toLowerCase() === userName?.toLowerCase());

SCIMMY.Resources.declare(SCIMMY.Resources.User, {
    ingress: (resource, data) => {
        if (resource.id && !users.has(resource.id)) throw new SCIMMY.Types.Error(404, null, `Resource ${resource.id} not found`);
        const id = resource.id ?? crypto.randomUUID();
        if (taken(id, data.userName)) throw new SCIMMY.Types.Error(409, "uniqueness", "userName is taken");
        const now = new Date().toISOString();
        const created = users.get(id)?.meta?.created ?? now;
        const kept = JSON.parse(JSON.stringify(data));
        users.set(id, { ...kept, id, meta: { created, lastModified: now } });
        return users.get(id);
    },
    egress: (resource) => {
        if (resource.id) {
            if (!users.has(resource.id)) throw new SCIMMY.Types.Error(404, null, `Resource ${resource.id} not found`);
            return users.get(resource.id);
        }
        const all = [...users.values()];
        return resource.filter ? resource.filter.match(all) : all;
    },
    degress: (resource) => {
        if (!users.delete(resource.id)) throw new SCIMMY.Types.Error(404, null, `Resource ${resource.id} not found`);
    },
});
SCIMMY.Resources.User.extend(SCIMMY.Schemas.EnterpriseUser, false);

const app = express();
app.get("/__store", (_, response) => response.json([...users.values()]));
app.get("/__requests", (_, response) => response.json(requests));
app.use((request, _, next) => {
    requests.push({ method: request.method, path: request.path });
    next();
});
app.use("/scim/v2", new SCIMMYRouters({
    type: "bearer",
    handler: (request) => {
        if (request.header("Authorization") !== `Bearer ${token}`) throw new Error("not authorised");
        return "scimpipe";
    },
}));
const server = app.listen(Number(option("port", "0")), "127.0.0.1", () => {
    console.log(JSON.stringify({ port: server.address().port }));
});
