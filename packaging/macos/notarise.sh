#!/bin/bash
# Signs dist/Skyfix.app, packs it as a disk image, and has Apple notarise that.
#   SKYFIX_SIGN_IDENTITY="Developer ID Application: ..." SKYFIX_NOTARY_PROFILE=name \
#       packaging/macos/notarise.sh VERSION
# The profile is made once: xcrun notarytool store-credentials
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
version=${1:?give the version, such as 0.1.0}
: "${SKYFIX_SIGN_IDENTITY:?set it to the name of your Developer ID Application certificate}"
: "${SKYFIX_NOTARY_PROFILE:?set it to a profile of xcrun notarytool}"
app=dist/Skyfix.app
image=dist/skyfix-$version-cpu-macos-$(uname -m).dmg

# Inside first, the bundle last: a signature covers what lies below it.
find "$app" -type f \( -name '*.dylib' -o -name '*.so' \) -print0 \
    | xargs -0 -n 20 codesign --force --timestamp --options runtime --sign "$SKYFIX_SIGN_IDENTITY"
codesign --force --timestamp --options runtime --entitlements packaging/macos/entitlements.plist \
    --deep --sign "$SKYFIX_SIGN_IDENTITY" "$app"
codesign --verify --deep --strict "$app"

hdiutil create -volname Skyfix -srcfolder "$app" -ov -format UDZO "$image"
codesign --timestamp --sign "$SKYFIX_SIGN_IDENTITY" "$image"
xcrun notarytool submit "$image" --keychain-profile "$SKYFIX_NOTARY_PROFILE" --wait
xcrun stapler staple "$image"
spctl --assess --type open --context context:primary-signature "$image"
