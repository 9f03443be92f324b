// The map's behaviour. Python calls window.skyfix.*; picks and the pointer's place go back through
// the QWebChannel object "bridge". No string from outside ever becomes HTML: text nodes only.
"use strict";

(function () {
  const map = window.map_skyfix; // made by folium's script
  const MAX_ZOOM = 22;
  const NUMBERED = 60; // candidates beyond this are drawn on the canvas, without a number
  const HOVER_MS = 40;
  const canvas = L.canvas({ padding: 0.3 });
  const quiet = { animate: false };

  let bridge = null;
  let areaBounds = null; // of the gallery
  let fitBounds = null; // of the candidates
  let objectBounds = null; // of the selected clicked object
  let wanted = null; // fitted again when the map's size changes, until the user moves it
  let selected = null;
  let pins = new Map(); // rank -> {mark, marker, plain}
  let hasImagery = false;
  let told = { count: 0, claim: null, objectColour: "" }; // what the legend tells of

  const imagery = L.layerGroup();
  const outline = L.layerGroup();
  const grid = L.layerGroup();
  const chosen = L.layerGroup(); // footprint and wedge of the selected candidate
  const candidates = L.layerGroup();
  const claims = L.layerGroup();
  const objects = L.layerGroup(); // clicked ones: outline on the ground, number at the centre

  function node(tag, className, text) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function drawing(className, size, shapes) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("class", className);
    svg.setAttribute("viewBox", `0 0 ${size} ${size}`);
    svg.setAttribute("aria-hidden", "true");
    for (const [tag, attributes] of shapes) {
      const shape = document.createElementNS("http://www.w3.org/2000/svg", tag);
      for (const [key, value] of Object.entries(attributes)) shape.setAttribute(key, value);
      svg.appendChild(shape);
    }
    return svg;
  }

  function lines(texts) {
    const box = node("div", "lines");
    texts.forEach((text) => box.appendChild(node("div", "", text)));
    return box;
  }

  // --- pins ------------------------------------------------------------------------------------

  function addPin(mark, count) {
    const place = [mark.lat, mark.lon];
    const numbered = mark.rank <= NUMBERED;
    const marker = numbered ? numberedPin(mark, place) : dot(mark, place);
    marker.bindTooltip(() => lines(mark.lines), { direction: "top", offset: [0, -12] });
    marker.on("click", () => pick(mark.rank));
    if (numbered) marker.setZIndexOffset((count - mark.rank) * 100);
    marker.addTo(candidates);
    if (numbered) describe(marker.getElement(), mark);
    pins.set(mark.rank, { mark, marker, numbered, offset: (count - mark.rank) * 100 });
  }

  function numberedPin(mark, place) {
    const disc = node("div", "disc", String(mark.rank));
    disc.style.backgroundColor = mark.colour;
    disc.style.color = mark.ink;
    const size = mark.rank === 1 ? 30 : 24;
    const face = node("div", "face");
    if (mark.heading !== null) {
      const arrow = node("div", "arrow"); // seen at every zoom, unlike the wedge on the ground
      arrow.style.transform = `rotate(${mark.heading}deg)`;
      face.appendChild(arrow);
    }
    face.appendChild(disc);
    const className = mark.rank === 1 ? "pin best" : "pin";
    return L.marker(place, {
      icon: L.divIcon({ className, html: face, iconSize: [size, size] }),
      keyboard: true,
      riseOnHover: true,
    });
  }

  function describe(element, mark) {
    element.dataset.rank = mark.rank;
    element.setAttribute("role", "button");
    element.setAttribute("aria-label", `Candidate ${mark.lines.join(", ")}`);
    element.setAttribute("aria-pressed", "false");
  }

  function dot(mark, place) {
    return L.circleMarker(place, {
      renderer: canvas, radius: 5, weight: 1, color: "#ffffff",
      fillColor: mark.colour, fillOpacity: 1, bubblingMouseEvents: false,
    });
  }

  function pick(rank) {
    highlight(rank, false);
    if (bridge) bridge.pick(rank);
  }

  function highlight(rank, reveal) {
    emphasise(pins.get(selected), false);
    chosen.clearLayers();
    selected = rank;
    const pin = pins.get(rank);
    if (!pin) return;
    emphasise(pin, true);
    const style = { renderer: canvas, interactive: false };
    const { footprint, wedge } = pin.mark;
    if (footprint.length) {
      L.polygon(footprint, { ...style, color: "#ffffff", weight: 5, opacity: 0.9, fill: false }).addTo(chosen);
      L.polygon(footprint, { ...style, color: pin.mark.colour, weight: 2.5, fillOpacity: 0.08 }).addTo(chosen);
    }
    if (wedge.length) {
      L.polygon(wedge, { ...style, color: "#ffffff", weight: 1.5, fillColor: pin.mark.colour, fillOpacity: 0.5 }).addTo(chosen);
    }
    const seen = map.getBounds().pad(-0.05);
    if (reveal && !seen.contains(pin.marker.getLatLng())) map.panTo(pin.marker.getLatLng(), quiet);
  }

  function emphasise(pin, on) {
    if (!pin) return;
    if (!pin.numbered) {
      pin.marker.setStyle({ radius: on ? 10 : 5, weight: on ? 3 : 1 });
      if (on) pin.marker.bringToFront();
      return;
    }
    pin.marker.setZIndexOffset(on ? 1000000 : pin.offset);
    pin.marker.getElement().classList.toggle("selected", on);
    pin.marker.getElement().setAttribute("aria-pressed", String(on));
  }

  function diamond() {
    const path = "M22 1 L43 22 L22 43 L1 22 Z";
    return drawing("diamond", 44, [["path", { d: path, class: "halo" }], ["path", { d: path, class: "edge" }]]);
  }

  function addClaim(claim) {
    const body = node("div", "claim");
    body.appendChild(diamond());
    body.appendChild(node("span", "tag", "claim"));
    const marker = L.marker([claim.lat, claim.lon], {
      // Under the pins, and wide enough to be seen around the one that it may coincide with.
      icon: L.divIcon({ className: "claim-pin", html: body, iconSize: [44, 44] }),
      keyboard: false, zIndexOffset: -500000,
    });
    marker.bindTooltip(() => lines(claim.lines), { direction: "top", offset: [0, -12] });
    marker.addTo(claims);
  }

  // --- clicked objects -----------------------------------------------------------------------------

  function showObjects(marks) {
    objects.clearLayers();
    const usual = marks.find((mark) => !mark.selected) || marks[0];
    drawLegend({ objectColour: usual ? usual.colour : "" });
    const chosenMark = marks.find((mark) => mark.selected);
    objectBounds = chosenMark ? L.latLngBounds(chosenMark.view) : null;
    marks.forEach((mark) => {
      const style = { renderer: canvas, interactive: false, fill: false };
      L.polygon(mark.polygon, { ...style, color: "#000000", weight: 4.5, opacity: 0.65 }).addTo(objects);
      L.polygon(mark.polygon, { ...style, color: mark.colour, weight: 2.5 }).addTo(objects);
      const plate = node("div", "object", String(mark.number));
      plate.style.backgroundColor = mark.colour;
      plate.style.color = mark.ink;
      const marker = L.marker([mark.lat, mark.lon], {
        icon: L.divIcon({ className: "object-pin", html: plate, iconSize: [20, 20] }),
        keyboard: false, zIndexOffset: mark.selected ? 2100000 : 2000000,
      });
      marker.bindTooltip(() => lines(mark.lines), { direction: "top", offset: [0, -10] });
      marker.addTo(objects);
      const place = L.latLng(mark.lat, mark.lon);
      if (mark.selected && !map.getBounds().pad(-0.08).contains(place)) map.panTo(place, quiet);
    });
  }

  // --- what lies beneath -------------------------------------------------------------------------

  const STEPS = [30, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001,
    0.0005, 0.0002, 0.0001, 0.00005, 0.00002, 0.00001];

  function drawGrid() {
    grid.clearLayers();
    if (!map.hasLayer(grid)) return;
    const view = map.getBounds();
    const south = Math.max(-85, view.getSouth()), north = Math.min(85, view.getNorth());
    const west = Math.max(-180, view.getWest()), east = Math.min(180, view.getEast());
    const wanted = (view.getEast() - view.getWest()) / Math.max(2, map.getSize().x / 140);
    const step = STEPS.filter((s) => s >= wanted).pop() || STEPS[0];
    const digits = Math.max(0, Math.ceil(-Math.log10(step) - 1e-9));
    for (let i = Math.ceil(west / step); i * step <= east; i++) {
      gridLine([[south, i * step], [north, i * step]], (i * step).toFixed(digits) + "°", "meridian");
    }
    for (let i = Math.ceil(south / step); i * step <= north; i++) {
      gridLine([[i * step, west], [i * step, east]], (i * step).toFixed(digits) + "°", "parallel");
    }
  }

  function gridLine(ends, text, kind) {
    L.polyline(ends, {
      renderer: canvas, interactive: false, weight: 1, opacity: 0.45,
      color: getComputedStyle(document.documentElement).getPropertyValue("--subtle").trim(),
    }).addTo(grid);
    const edge = map.latLngToContainerPoint(ends[kind === "meridian" ? 1 : 0]);
    const size = map.getSize(); // no label under the buttons
    if (kind === "meridian" && (edge.x < 46 || edge.x > size.x - 100)) return;
    if (kind === "parallel" && (edge.y < 150 || edge.y > size.y - 30)) return;
    const at = kind === "meridian" ? L.point(edge.x + 3, 2) : L.point(4, edge.y - 15);
    L.marker(map.containerPointToLatLng(at), {
      icon: L.divIcon({ className: "grid-label", html: node("span", "", text), iconSize: [0, 0] }),
      interactive: false, keyboard: false, zIndexOffset: -1000000,
    }).addTo(grid);
  }

  function showGround(ground) {
    imagery.clearLayers();
    outline.clearLayers();
    hasImagery = Boolean(ground.tiles);
    areaBounds = ground.area ? L.latLngBounds(ground.area) : null;
    if (ground.tiles) {
      L.tileLayer("skyfix://tiles/{token}/{z}/{x}/{y}", {
        token: ground.tiles.token, noWrap: true, maxZoom: MAX_ZOOM,
        minZoom: Math.max(0, ground.tiles.min_zoom - 2), minNativeZoom: ground.tiles.min_zoom,
        maxNativeZoom: ground.tiles.max_zoom,
        bounds: ground.tiles.bounds ? L.latLngBounds(ground.tiles.bounds) : undefined,
      }).addTo(imagery);
    }
    if (areaBounds) {
      const style = { renderer: canvas, interactive: false, fill: false };
      L.rectangle(areaBounds, { ...style, color: "#000000", weight: 3, opacity: 0.5 }).addTo(outline);
      L.rectangle(areaBounds, { ...style, color: "#f0e442", weight: 1.5, dashArray: "6 5" }).addTo(outline);
    }
    layersControl.removeLayer(imagery); // no switch for what is not there
    if (hasImagery) layersControl.addOverlay(imagery, "Imagery");
    if (hasImagery) map.removeLayer(grid);
    else map.addLayer(grid);
    credit.textContent = ground.attribution ? `Leaflet · ${ground.attribution}` : "Leaflet";
    credit.title = ground.attribution;
    toGallery.disabled = !areaBounds;
    fit(areaBounds);
    drawGrid();
    drawLegend({ count: 0, claim: null });
  }

  function showCandidates(shown) {
    candidates.clearLayers();
    claims.clearLayers();
    chosen.clearLayers();
    pins = new Map();
    selected = null;
    shown.pins.forEach((mark) => addPin(mark, shown.pins.length));
    if (shown.claim) addClaim(shown.claim);
    fitBounds = shown.pins.length && shown.fit ? L.latLngBounds(shown.fit) : null;
    toCandidates.disabled = !fitBounds;
    drawLegend({ count: shown.pins.length, claim: shown.claim });
    fit(fitBounds || areaBounds);
  }

  function fit(bounds) {
    if (!bounds) return;
    map.fitBounds(bounds, { ...quiet, padding: [36, 36], maxZoom: 19 });
    wanted = bounds; // after the move, which has just forgotten it
  }

  // --- controls ----------------------------------------------------------------------------------

  function control(position, element) {
    const made = L.control({ position });
    made.onAdd = () => element;
    made.addTo(map);
    L.DomEvent.disableClickPropagation(element);
    return element;
  }

  function fitButton(bar, label, shapes, bounds) {
    const button = node("button", "fit");
    button.type = "button";
    button.title = label;
    button.setAttribute("aria-label", label);
    button.appendChild(drawing("icon", 18, shapes));
    button.disabled = true;
    button.addEventListener("click", () => fit(bounds()));
    bar.appendChild(button);
    return button;
  }

  L.control.scale({ imperial: false, position: "bottomleft" }).addTo(map);
  const bar = control("topleft", node("div", "leaflet-bar fit-bar"));
  const toCandidates = fitButton(bar, "Fit to candidates (C)", [
    ["path", { d: "M1 5V1h4M13 1h4v4M17 13v4h-4M5 17H1v-4" }],
    ["circle", { cx: 6.5, cy: 11, r: 2 }], ["circle", { cx: 11.5, cy: 7, r: 2 }],
  ], () => fitBounds);
  const toGallery = fitButton(bar, "Fit to gallery (G)", [
    ["path", { d: "M1 5V1h4M13 1h4v4M17 13v4h-4M5 17H1v-4" }],
    ["path", { d: "M5 6h8v6H5z" }],
  ], () => areaBounds);
  const layersControl = L.control.layers(null, {
    "Candidates": candidates, "Footprint and heading": chosen, "Claim": claims,
    "Objects": objects, "Gallery area": outline, "Grid": grid,
  }, { position: "topright" });
  layersControl.addTo(map);
  const credit = control("bottomright", node("div", "credit", "Leaflet"));
  const legend = control("bottomright", node("div", "legend"));

  function drawLegend(change) {
    told = { ...told, ...change };
    const { count, claim, objectColour } = told;
    legend.replaceChildren();
    if (count) legendRow(swatch("disc best", "1"), "best");
    if (count > 1) legendRow(node("span", "ramp"), `rank 2 to ${count}`);
    if (claim) {
      const row = legendRow(diamond(), claim.away ? `claim, ${claim.away} away` : "claim", "button");
      row.type = "button";
      row.title = "Show the claim";
      row.addEventListener("click", () => map.panTo([claim.lat, claim.lon], quiet));
    }
    if (objectColour) {
      const square = node("span", "square");
      square.style.borderColor = objectColour;
      legendRow(square, "clicked object");
    }
    if (areaBounds) legendRow(node("span", "dashes"), "gallery area");
    legend.hidden = !legend.childElementCount;
  }

  function swatch(className, text) {
    return node("span", className, text);
  }

  function legendRow(sign, text, tag) {
    const row = node(tag || "div", "row");
    const box = node("span", "sign");
    box.appendChild(sign);
    row.appendChild(box);
    row.appendChild(node("span", "", text));
    legend.appendChild(row);
    return row;
  }

  // --- the pointer, the keys, the bridge -----------------------------------------------------------

  let pointer = null;
  let hoverTimer = 0;

  function tellHover() {
    hoverTimer = 0;
    if (!bridge) return;
    if (!pointer) bridge.leave();
    else bridge.hover(pointer.lat, pointer.lng);
  }

  function hover(place) {
    pointer = place;
    if (!hoverTimer) hoverTimer = setTimeout(tellHover, HOVER_MS);
  }

  const container = map.getContainer();
  container.addEventListener("pointermove", (event) => hover(map.mouseEventToLatLng(event)));
  container.addEventListener("pointerleave", () => hover(null));
  container.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "c") fit(fitBounds);
    if (event.key === "g") fit(areaBounds);
    if (event.key === " " && event.target.dataset && event.target.dataset.rank) {
      event.preventDefault();
      pick(Number(event.target.dataset.rank));
    }
  });
  map.setMaxZoom(MAX_ZOOM).setMinZoom(1); // else the imagery would hold the zoom to its own
  map.on("moveend", drawGrid);
  map.on("movestart", () => { wanted = null; });
  map.on("resize", () => fit(wanted));
  map.on("overlayadd", (event) => event.layer === grid && drawGrid());
  [imagery, outline, chosen, candidates, claims, objects].forEach((layer) => layer.addTo(map));
  drawLegend({});

  window.skyfix = {
    showGround,
    showCandidates,
    showObjects,
    select: (rank) => highlight(rank, true),
    dress: (colours, dark) => {
      for (const [role, colour] of Object.entries(colours)) {
        document.documentElement.style.setProperty(`--${role}`, colour);
      }
      document.documentElement.classList.toggle("dark", dark);
      drawGrid();
    },
    fitCandidates: () => fit(fitBounds),
    fitObject: () => fit(objectBounds),
    fitGallery: () => fit(areaBounds),
  };

  new QWebChannel(qt.webChannelTransport, (channel) => {
    bridge = channel.objects.bridge;
    bridge.arrived();
  });
})();
