; Inno Setup 6.3 or newer: iscc /DVersion=0.1.0 /DEdition=cpu packaging\windows\skyfix.iss
; Installs for this user without administrator's rights, or for all users when asked.

#ifndef Version
  #error "give the version: /DVersion=0.1.0"
#endif
#ifndef Edition
  #define Edition "cpu"
#endif

[Setup]
AppId={{0B6C2C55-6C2B-4B0A-9C63-7E1F2B6B52A4}
AppName=Skyfix
AppVersion={#Version}
AppPublisher=The Skyfix authors
DefaultDirName={autopf}\Skyfix
DefaultGroupName=Skyfix
DisableProgramGroupPage=yes
PrivilegesRequired=lowest
PrivilegesRequiredOverridesAllowed=dialog commandline
ArchitecturesAllowed=x64compatible
ArchitecturesInstallIn64BitMode=x64compatible
MinVersion=10.0.17763
OutputDir=..\..\dist
OutputBaseFilename=skyfix-{#Version}-{#Edition}-windows-x64-setup
Compression=lzma2/max
SolidCompression=yes
; A CUDA edition is larger than one file of 2.1 GB may be.
DiskSpanning={#Edition == "cuda" ? "yes" : "no"}
CloseApplications=yes
UninstallDisplayIcon={app}\skyfix.exe
WizardStyle=modern
; The owner's certificate: iscc "/Ssign=signtool sign /fd sha256 /tr URL /td sha256 $f" /DSign
#ifdef Sign
SignTool=sign
SignedUninstaller=yes
#endif

[Tasks]
Name: desktopicon; Description: "{cm:CreateDesktopIcon}"; Flags: unchecked

[InstallDelete]
; An older version's packages must not lie among the newer one's.
Type: filesandordirs; Name: "{app}\_internal"

[Files]
Source: "..\..\dist\skyfix\*"; DestDir: "{app}"; Flags: recursesubdirs createallsubdirs ignoreversion

[Icons]
Name: "{group}\Skyfix"; Filename: "{app}\skyfix.exe"
Name: "{autodesktop}\Skyfix"; Filename: "{app}\skyfix.exe"; Tasks: desktopicon

[Run]
Filename: "{app}\skyfix.exe"; Description: "{cm:LaunchProgram,Skyfix}"; Flags: nowait postinstall skipifsilent
