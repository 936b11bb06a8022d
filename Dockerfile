# syntax=docker/dockerfile:1
# Three stages: compile with everything, install what runs, keep only that. The version is the one package.json pins for
# development, so an image runs what the tests ran.

FROM node:26.10.0-bookworm-slim AS build
WORKDIR /build
COPY package.json package-lock.json ./
# The compiler and its platform binary are development and optional dependencies: nothing is omitted here.
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY tsconfig.json ./
COPY src src
COPY plugins plugins
COPY config config
RUN npm run build

FROM node:26.10.0-bookworm-slim AS dependencies
WORKDIR /build
COPY package.json package-lock.json ./
# The optional dependencies are Node itself, which the base image brings.
RUN npm ci --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund

FROM node:26.10.0-bookworm-slim
ENV NODE_ENV=production
WORKDIR /app
COPY --from=dependencies /build/node_modules node_modules
COPY --from=build /build/dist dist
COPY package.json LICENSE ./
# 1000 is the image's own user `node`; a number, so that Kubernetes can see that it is not root.
USER 1000:1000
EXPOSE 8080 9090
# The supervisor drains on SIGTERM; it is process 1 and reaps its workers itself.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
  CMD ["node", "dist/src/main.js", "healthcheck", "-c", "/etc/spillway/spillway.yaml"]
ENTRYPOINT ["node", "dist/src/main.js"]
CMD ["run", "-c", "/etc/spillway/spillway.yaml"]
